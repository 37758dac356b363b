"""Any folder of images: class folders in train/, val/ and test/, or a table of labels."""

from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from kdsweep.common.notices import warn_once
from kdsweep.common.validation import check_bool
from kdsweep.data.images import label_table, layout
from kdsweep.data.images.class_folders import class_folder
from kdsweep.data.images.content import Part, content_digest
from kdsweep.data.images.decoding import ImageDecoder
from kdsweep.data.images.entries import SkippedFiles, folder_names
from kdsweep.data.types import SourceData, UsesCache


class Contents(NamedTuple):
    """The files of each part that exists, and the names of the classes."""

    parts: dict[str, Part]
    class_names: tuple[str, ...]


class ImageFolder(UsesCache):
    """Images of class folders; the classes are the folder names in train/, sorted.

    Without a train/ the folders of the root itself are the classes. With val/ and test/ both are
    used as given; if only one of them exists it is the test set; with neither the test set is cut
    off train/. Files are found in class folders at any depth, by their ending (.jpg, .png, .webp,
    ...); hidden files and folders are ignored. Other skipped files are counted in one warning.

    Args:
        root: the folder, which may be packed into others, as the only one there.
        csv: a table of files, labels and splits in the root, instead of class folders; None: the
            only one there is, if there are no class folders.
        nested: whether every folder that holds images is a class (`animals/cats`), or those in
            train/ are; None: as the layout suggests (``layout.class_folders``).
        decoder: options of ``ImageDecoder``.
    """

    name = "image_folder"
    more_options = ImageDecoder

    def __init__(
        self,
        root: str | None,
        csv: str | None = None,
        nested: bool | None = None,
        **decoder: Any,
    ) -> None:
        if root is None:
            raise ValueError("dataset.root must be given: the folder that holds train/")
        if nested is not None:
            check_bool("dataset.source.nested", nested)
        self.root = Path(root).expanduser()
        self._csv, self._nested = csv, nested
        self._decoder = ImageDecoder(**decoder)
        self._skipped = SkippedFiles()

    def load(self) -> SourceData:
        """Read all images, or only list them if they are to stay on disk.

        Raises ValueError if there is no such folder, a class is empty or missing, an image is
        unreadable, or sizes differ and no image_size is given.
        """
        parts, names = self._contents
        self._skipped.warn(self.root)
        loaded = self._decoder.load(parts, names, self.cache)
        val, test = loaded.get("val"), loaded.get("test")
        if val is not None and test is None:
            val, test = None, val
        unread = self._unread_test_set() if test is None else None
        return SourceData(loaded["train"], test, names, val, unread, self._decoder.rules)

    def digest(self) -> str:
        """Over relative paths, labels and bytes of the files."""
        return content_digest(self._contents.parts, self.cache)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Those of the class folders, or of the table."""
        return self._contents.class_names

    def _unread_test_set(self) -> Path | None:
        """What may be meant as the test set of a root without one, which may not be a class."""
        unread = layout.unread_test_set(self._home)
        is_class = unread is not None and unread.name in self.class_names
        return None if is_class else unread

    @cached_property
    def _home(self) -> Path:
        if not self.root.is_dir():
            raise ValueError(f"dataset.root must be an existing folder, got {self.root}")
        return layout.innermost(self.root)

    @cached_property
    def _contents(self) -> Contents:
        folders = layout.part_folders(self._home)
        if tables := self._tables(folders):
            return Contents(*label_table.read_tables(tables, self._home, folders))
        return self._read_class_folders(folders)

    def _tables(self, folders: dict[str, Path]) -> list[Path]:
        """The tables to read; none where there are class folders, and no table is named."""
        tables = label_table.find_tables(self._home, self._csv)
        if self._csv is not None:
            return tables
        if "train" in folders:
            return [] if folder_names(folders["train"]) else tables
        if not folders and len(folder_names(self._home)) > 1:  # they may be the classes
            are_classes = len(tables) != 1 or not label_table.lists_images(tables[0], self._home)
            return [] if are_classes else tables
        return tables

    def _read_class_folders(self, folders: dict[str, Path]) -> Contents:
        home = self._home
        if not folders and len(names := folder_names(home)) > 1:
            layout.refuse_parts_as_classes(home, names)
            warn_once(f"dataset.root: {home} has no train/, so all its images are read as one set")
            folders = {"train": home}
        if "train" not in folders:
            others = " and ".join(f"{folder.name}/" for folder in folders.values())
            has = f"with {others} only" if others else "without it"
            raise ValueError(f"dataset.root must hold a folder train/, got {home} {has}")
        there = layout.class_folders(folders, self._nested)
        names = there["train"]
        if len(names) < 2:
            raise ValueError(
                "dataset.root must hold at least 2 class folders in train/, "
                f"got {len(names)} in {folders['train']}"
            )
        parts = {
            part: class_folder(
                folder,
                names,
                skipped=self._skipped,
                there=there[part],
                root=home,
                cache=self.cache,
            )
            for part, folder in folders.items()
        }
        return Contents(parts, names)
