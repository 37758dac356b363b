"""Image files: finding them in class folders, and a list of them as encoded images."""

import os
from collections.abc import Sequence
from copy import copy
from pathlib import Path

import numpy as np
from torch import Tensor

from kdsweep.data.reading import Part

IMAGE_ENDINGS = (
    *(".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm"),
    *(".png", ".ppm", ".tif", ".tiff", ".webp"),
)


class ImageFiles:
    """Files somewhere below ``root``, as ``Encoded``."""

    def __init__(self, root: Path, paths: Sequence[Path]) -> None:
        self._root = root
        # One flat array instead of N objects: workers share it without ever copying it.
        self._relative = np.array([os.fsencode(path.relative_to(root)) for path in paths])

    def __len__(self) -> int:
        return len(self._relative)

    def open(self, row: int) -> Path:
        return self._root / os.fsdecode(self._relative[row])

    def name(self, row: int) -> str:
        return str(self.open(row))

    def key(self, row: int) -> str:
        return Path(os.fsdecode(self._relative[row])).as_posix()

    def num_bytes(self) -> list[int]:
        return [self.open(row).stat().st_size for row in range(len(self))]

    def take(self, index: Tensor) -> "ImageFiles":
        chosen = copy(self)
        chosen._relative = self._relative[index.numpy()]
        return chosen


def class_folders(folder: Path, names: Sequence[str], known: str = "train/") -> Part:
    """All images of train/, val/ or test/, which must hold exactly the class folders ``names``.

    ``known`` is where the names come from, for the sentence that says that they differ.
    Files are found at any depth, by their ending; hidden files and folders are not looked at.
    """
    found = folder_names(folder)
    missing, unknown = sorted({*names} - {*found}), sorted({*found} - {*names})
    if missing or unknown:
        odd = f"without {missing[0]!r}" if missing else f"with {unknown[0]!r}, unknown in {known}"
        raise ValueError(
            f"dataset.root must hold the same class folders in {folder.name}/ as in {known}, "
            f"got {folder} {odd}"
        )
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        files = _image_files(folder / name)
        if not files:
            raise ValueError(
                f"dataset.root must hold images in every class folder, got {folder / name} "
                "without any"
            )
        paths += files
        labels += [label] * len(files)
    return Part(ImageFiles(folder.parent, paths), labels)


def folder_names(folder: Path) -> tuple[str, ...]:
    """The folders in train/, val/ or test/ that are not hidden, sorted."""
    if not folder.is_dir():
        raise ValueError(
            f"dataset.root must hold a folder {folder.name}/, got {folder.parent} without it"
        )
    return tuple(
        sorted(
            entry.name
            for entry in folder.iterdir()
            if entry.is_dir() and not entry.name.startswith(".")
        )
    )


def _image_files(folder: Path) -> list[Path]:
    files: list[Path] = []
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [
            Path(parent, name)
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_ENDINGS
        ]
    return sorted(files)
