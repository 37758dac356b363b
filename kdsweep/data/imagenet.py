"""ImageNet-1k (ILSVRC 2012; Russakovsky et al. 2015, arXiv 1409.0575), 1,000 classes."""

import csv
import re
import tarfile
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from kdsweep.common.notices import warn_once
from kdsweep.common.text import error_reason
from kdsweep.data.images.class_folders import class_folder, flat_files
from kdsweep.data.images.content import Part, content_digest
from kdsweep.data.images.decoding import ImageDecoder
from kdsweep.data.images.entries import SkippedFiles, folder_names
from kdsweep.data.images.files import ImageFiles
from kdsweep.data.types import SourceData, UsesCache

PUBLISHED = {"train": 1_281_167, "test": 50_000}
NUM_CLASSES = 1000
KAGGLE = Path("ILSVRC/Data/CLS-LOC")  # holds train/ and val/ in the archive of Kaggle
DEVKIT = "ILSVRC2012_devkit_t12"
META, TRUTH = "data/meta.mat", "data/ILSVRC2012_validation_ground_truth.txt"
SOLUTION, MAPPING = "LOC_val_solution.csv", "LOC_synset_mapping.txt"  # Kaggle's labels and names
WNID = re.compile(r"n\d{8}")


class Labels(NamedTuple):
    """What is published about the images.

    Attributes:
        words: the words for each class, by WordNet id: ``tench, Tinca tinca``.
        of_val: the WordNet id of each validation image, by the name of its file without ending.
    """

    words: Mapping[str, str]
    of_val: Mapping[str, str]


class ImageNet(UsesCache):
    """The 50,000 images of val/, on which results are published, are the test set.

    The labels of test/ were never published, so it is not read. Classes are numbered in the order
    of their sorted WordNet ids, as published weights have them, not in that of the development kit.

    Args:
        root: the folder that holds ``train/<wnid>/`` and ``val/<wnid>/``, or the images of val/
            without folders, as in the archives, next to the development kit
            (``ILSVRC2012_devkit_t12``, a folder or ``.tar.gz``); or what Kaggle's archive holds.
        decoder: options of ``ImageDecoder``.
    """

    name = "imagenet"
    more_options = ImageDecoder

    def __init__(self, root: str | None, **decoder: Any) -> None:
        if root is None:
            raise ValueError("dataset.root must be given: the folder that holds train/ and val/")
        self.root = Path(root).expanduser()
        self._decoder, self._skipped = ImageDecoder(**decoder), SkippedFiles()

    def load(self) -> SourceData:
        """Read all images, or only list them if they are to stay on disk.

        Raises ValueError if train/, val/ or the labels of val/ are missing, or an image is
        unreadable.
        """
        parts = self._parts
        self._warn_if_incomplete()
        self._skipped.warn(self._home)
        names = self.class_names
        loaded = self._decoder.load(parts, names, self.cache)
        return SourceData(loaded["train"], loaded["test"], names, decoding=self._decoder.rules)

    def digest(self) -> str:
        """Over relative paths, labels and the bytes or, above 8 GiB, the sizes of the files."""
        return content_digest(self._parts, self.cache)

    @cached_property
    def _home(self) -> Path:
        """The folder that holds train/ and val/."""
        if not self.root.is_dir():
            raise ValueError(f"dataset.root must be an existing folder, got {self.root}")
        candidates = self.root, self.root / KAGGLE
        top = next((top for top in candidates if (top / "train").is_dir()), None)
        if top is None:
            archives = sorted(path.name for path in self.root.glob("ILSVRC2012_img_*.tar"))
            has = f" with {' and '.join(archives)}, which must be unpacked" if archives else ""
            raise ValueError(
                "dataset.root must hold train/ with a folder for each class, named by its WordNet"
                f" id (docs/datasets.md), got {self.root}{has or ' without it'}"
            )
        if not (top / "val").is_dir():
            raise ValueError(
                f"dataset.root must hold val/ next to train/, the test set, got {top} without it"
            )
        return top

    @cached_property
    def _wnids(self) -> tuple[str, ...]:
        """The WordNet ids of the classes, sorted: the folders in train/."""
        wnids = folder_names(self._home / "train")
        odd = next((name for name in wnids if not WNID.fullmatch(name)), None)
        if odd is not None or len(wnids) < 2:
            got = f"{odd!r}" if odd is not None else f"{len(wnids)} of them"
            raise ValueError(
                "dataset.root must hold at least 2 class folders in train/, named by their WordNet"
                f" ids (n01440764), got {got} in {self._home / 'train'}"
            )
        return wnids

    @cached_property
    def _parts(self) -> dict[str, Part]:
        val = self._home / "val"
        test = self._class_folder if folder_names(val) else self._flat
        return {"train": self._class_folder(self._home / "train"), "test": test(val)}

    def _class_folder(self, folder: Path) -> Part:
        return class_folder(folder, self._wnids, skipped=self._skipped, cache=self.cache)

    def _flat(self, val: Path) -> Part:
        """The images of a val/ without class folders; of classes that train/ lacks, none."""
        files = flat_files(val, self._skipped)
        if not files:
            raise ValueError(f"dataset.root must hold images in val/, got {val} without any")
        number = {wnid: label for label, wnid in enumerate(self._wnids)}
        of_val = self._labels.of_val
        unlabelled = [file for file in files if Path(file).stem not in of_val]
        if unlabelled:
            raise ValueError(
                "dataset.root must hold a label of every image in a val/ without class folders: in"
                f" {DEVKIT} (the folder or the .tar.gz) or in {SOLUTION}, got"
                f" {unlabelled[0]} without one"
            )
        wnids = [of_val[Path(file).stem] for file in files]
        known = [
            (file, number[wnid]) for file, wnid in zip(files, wnids, strict=True) if wnid in number
        ]
        if left := len(files) - len(known):
            warn_once(
                f"dataset.root: {left:,} images of {val} are left out, because train/ has no folder"
                " of their class"
            )
        if missing := {*self._wnids} - {*wnids}:
            raise ValueError(
                f"dataset.root must hold images of every class in val/, got {val} without any of"
                f" {min(missing)}"
            )
        paths, labels = zip(*known, strict=True)
        return Part(ImageFiles(self._home, paths), labels)

    @cached_property
    def _labels(self) -> Labels:
        """What is found in the root, which may be nothing."""
        if (devkit := _find_devkit(self.root)) is not None:
            return _of_devkit(devkit)
        words, of_val = self.root / MAPPING, self.root / SOLUTION
        return Labels(
            _read_mapping(words) if words.is_file() else {},
            _read_solution(of_val) if of_val.is_file() else {},
        )

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The first of the words for each class, with its WordNet id where two have the same."""
        words = self._labels.words or _words_of_torchvision(self._wnids)
        firsts = {wnid: words.get(wnid, wnid).split(",")[0] for wnid in self._wnids}
        count = Counter(firsts.values())
        return tuple(
            first if count[first] == 1 else f"{first} ({wnid})" for wnid, first in firsts.items()
        )

    def _warn_if_incomplete(self) -> None:
        """Of all classes, as after interrupted unpacking; a choice of classes is meant."""
        counts = {name: len(part.labels) for name, part in self._parts.items()}
        if len(self._wnids) == NUM_CLASSES and counts != PUBLISHED:
            (train, test), (all_train, all_test) = counts.values(), PUBLISHED.values()
            warn_once(
                f"dataset.root: {self._home} holds {train:,} images in train/ and {test:,} in val/;"
                f" published are {all_train:,} and {all_test:,}"
            )


def _find_devkit(root: Path) -> Path | None:
    """The development kit, unpacked or not."""
    places = root / DEVKIT, root / f"{DEVKIT}.tar.gz"
    return next((place for place in places if place.exists()), None)


def _of_devkit(devkit: Path) -> Labels:
    """The labels in the development kit. Raises ValueError if it lacks a file, or is damaged."""
    from scipy.io import loadmat  # takes half a second to import

    try:
        meta = loadmat(BytesIO(_read(devkit, META)), squeeze_me=True)["synsets"]
        numbers = [int(line) for line in _read(devkit, TRUTH).decode().split()]
        # A number above 1,000 is of a class of classes, which has children.
        leaves = [row for row in meta if int(row["num_children"]) == 0]
        wnid = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in leaves}
        words = {str(row["WNID"]): str(row["words"]) for row in leaves}
        of_val = {
            f"ILSVRC2012_val_{position:08}": wnid[number]
            for position, number in enumerate(numbers, start=1)
        }
    except Exception as error:  # scipy passes on whatever its parser raises
        raise ValueError(
            f"dataset.root must hold {DEVKIT} as it was published, got {devkit}:"
            f" {error_reason(error)}"
        ) from error
    return Labels(words, of_val)


def _read(devkit: Path, file: str) -> bytes:
    """A file of the development kit."""
    if devkit.is_dir():
        return (devkit / file).read_bytes()
    with tarfile.open(devkit) as archive:
        content = archive.extractfile(f"{DEVKIT}/{file}")
        if content is None:
            raise OSError(f"{file} is no file")
        return content.read()


def _read_mapping(file: Path) -> dict[str, str]:
    """Lines of a WordNet id and the words for it."""
    rows = (line.partition(" ") for line in file.read_text(encoding="utf-8").splitlines())
    return {wnid: words for wnid, _, words in rows}


def _read_solution(file: Path) -> dict[str, str]:
    """Lines of an image and its objects, each the WordNet id of the class and a box."""
    with file.open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.reader(lines) if len(row) == 2]
    return {image: objects.partition(" ")[0] for image, objects in rows[1:]}


def _words_of_torchvision(wnids: Sequence[str]) -> dict[str, str]:
    """The names that torchvision has for the classes of its weights, if these are all of them."""
    if len(wnids) != NUM_CLASSES:
        return {}
    from torchvision.models import ResNet18_Weights  # takes two seconds to import

    names: list[str] = ResNet18_Weights.IMAGENET1K_V1.meta["categories"]
    return dict(zip(wnids, names, strict=True))
