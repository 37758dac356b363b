"""Image classification sets of Hugging Face: a local folder, or a set on the hub.

The library is optional (``pip install 'kdsweep[hf]'``) and imported when a set is first read. From
version 4 on it runs no code of a set's author. Nothing here unpickles anything.
"""

import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from kdsweep.common.pacing import lines_while
from kdsweep.common.text import error_reason
from kdsweep.data.images.content import Part, content_digest
from kdsweep.data.images.decoding import ImageDecoder
from kdsweep.data.images.hf_table import TableImages, hf_datasets
from kdsweep.data.types import SourceData, UsesCache

HUB_NAME = re.compile(r"\w[\w.-]*/[\w.-]+")
SAVED = ("dataset_dict.json", "state.json")  # files that save_to_disk writes


class HuggingFace(UsesCache):
    """The splits of one set; images of all sizes, grey ones with one channel (``ImageDecoder``).

    Args:
        path: a folder (written by ``save_to_disk``, or of Parquet or image files), or the name of
            a set on the hub, ``owner/name``.
        config: which of the set's configurations, where it has several.
        revision: branch, tag or commit of a set on the hub.
        root: folder for downloads and converted files; None: the library's cache.
        image_column: None: the only column of images.
        label_column: None: the only column of classes.
        train_split: name of the training split.
        test_split: name of the test split; None: it is cut off the training split.
        val_split: name of the validation split; None: it is cut off the training split.
        decoder: options of ``ImageDecoder``.
    """

    name = "huggingface"
    more_options = ImageDecoder

    def __init__(
        self,
        path: str,
        *,
        config: str | None = None,
        revision: str | None = None,
        root: str | None = None,
        image_column: str | None = None,
        label_column: str | None = None,
        train_split: str = "train",
        test_split: str | None = "test",
        val_split: str | None = None,
        **decoder: Any,
    ) -> None:
        self.path, self._config, self._revision = path, config, revision
        self._root = None if root is None else str(Path(root).expanduser())
        self._image_column, self._label_column = image_column, label_column
        splits = {"train": train_split, "test": test_split, "val": val_split}
        self._split_names = {part: name for part, name in splits.items() if name is not None}
        self._decoder = ImageDecoder(**decoder)

    def load(self) -> SourceData:
        """Read all images, or only their headers if they are to stay encoded.

        Raises ValueError if the library, the set, a split or a column is missing, or an image is
        unreadable.
        """
        loaded = self._decoder.load(self._parts, self.class_names, self.cache)
        return SourceData(
            loaded["train"],
            loaded.get("test"),
            self.class_names,
            loaded.get("val"),
            decoding=self._decoder.rules,
        )

    def digest(self) -> str:
        """Over labels and bytes of the images, in their order."""
        return content_digest(self._parts, self.cache)

    @cached_property
    def _splits(self) -> dict[str, Any]:
        """The tables of train, test and val, those that have a name."""
        tables = _open(self.path, self._config, self._revision, self._root)
        if not isinstance(tables, Mapping):  # a folder with a single table
            tables = {self._split_names["train"]: tables}
        for part, name in self._split_names.items():
            if name not in tables:
                has = ", ".join(tables)
                raise ValueError(
                    f"dataset.source.{part}_split must be a split of {self.path} ({has})"
                    f"{' or null' if part != 'train' else ''}, got {name}"
                )
        return {part: tables[name] for part, name in self._split_names.items()}

    @cached_property
    def _columns(self) -> tuple[str, str]:
        """The columns of images and of labels."""
        datasets, features = hf_datasets(), self._splits["train"].features
        image = self._image_column or _only("image", features, datasets.Image)
        return image, self._label_column or _only("label", features, datasets.ClassLabel)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Those that the set declares, else all that occur in training, sorted."""
        _, column = self._columns
        train = self._splits["train"]
        _check_columns(train, *self._columns)
        if isinstance(train.features[column], hf_datasets().ClassLabel):
            return tuple(train.features[column].names)
        return tuple(str(value) for value in sorted({*train[column]} - {None}))

    @cached_property
    def _parts(self) -> dict[str, Part]:
        number = {name: label for label, name in enumerate(self.class_names)}
        image, column = self._columns
        parts = {}
        for part, table in self._splits.items():
            _check_columns(table, image, column)
            split = self._split_names[part]
            classes = _classes(table, column)
            labels = [-1 if name is None else number.get(name, -1) for name in classes]
            if -1 in labels:
                raise ValueError(
                    "dataset.source.label_column must hold a class of the training split for each "
                    f"image, got {column} with none in row {labels.index(-1)} of {split}"
                )
            parts[part] = Part(TableImages(table, image, split), labels)
        return parts


def _open(path: str, config: str | None, revision: str | None, root: str | None) -> Any:
    """The table or tables of a folder or of a set on the hub."""
    datasets = hf_datasets()
    folder = Path(path).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise ValueError(f"dataset.source.revision must be null for a folder, got {revision}")
    elif not HUB_NAME.fullmatch(path):
        raise ValueError(
            "dataset.source.path must be an existing folder, or the name of a set on the hub, "
            f"owner/name, got {path}"
        )
    try:
        if any((folder / written).is_file() for written in SAVED):
            return datasets.load_from_disk(str(folder))
        known = str(folder) if folder.is_dir() else path
        with lines_while(f"loading {path}, downloaded if it is not there"):
            return datasets.load_dataset(known, config, revision=revision, cache_dir=root)
    except (OSError, RuntimeError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise ValueError(
            "dataset.source.path must be a data set that can be loaded here, "
            f"got {path}: {error_reason(error).rstrip('.:')}"
        ) from error


def _only(key: str, features: Mapping[str, Any], kind: type) -> str:
    """The only column of a kind."""
    columns = [name for name, feature in features.items() if isinstance(feature, kind)]
    if len(columns) != 1:
        raise ValueError(
            f"dataset.source.{key}_column must be given where not one column is a "
            f"{kind.__name__}, got null for {', '.join(features)}"
        )
    return columns[0]


def _check_columns(table: Any, image: str, label: str) -> None:
    datasets = hf_datasets()
    kinds = (datasets.ClassLabel, datasets.Value)
    for key, column, allowed in (("image", image, (datasets.Image,)), ("label", label, kinds)):
        if not isinstance(table.features.get(column), allowed):
            names = " or ".join(kind.__name__ for kind in allowed)
            types = ", ".join(f"{name} ({type(f).__name__})" for name, f in table.features.items())
            raise ValueError(
                f"dataset.source.{key}_column must be a column of type {names}, got {column}, "
                f"where there are {types}"
            )


def _classes(table: Any, column: str) -> list[str | None]:
    """The name of each row's class, None where it has none."""
    feature, values = table.features[column], table[column][:]
    if isinstance(feature, hf_datasets().ClassLabel):  # -1 stands for an unpublished label
        return [None if value is None or value < 0 else feature.names[value] for value in values]
    return [None if value is None else str(value) for value in values]
