"""Any folder of class folders: train/<class>/*, and optionally val/ and test/ of the same kind."""

import hashlib
import logging
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch

from kdsweep.data.folder_images import (
    FolderImages,
    Size,
    Unreadable,
    attempt_all,
    decode,
    decode_all,
    read_size,
)
from kdsweep.data.labelled import Images, Labelled, Raw
from kdsweep.data.ranges import check_positive, check_whole, shown

logger = logging.getLogger(__name__)

GIB = 2**30
DIGEST_GIB = 8  # files of a data set that are still read whole to name its content
IMAGE_ENDINGS = (
    *(".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm"),
    *(".png", ".ppm", ".tif", ".tiff", ".webp"),
)


class Files(NamedTuple):
    """The image files of train/, val/ or test/, sorted by class and path."""

    paths: list[Path]
    labels: list[int]


class ImageFolder:
    """RGB images of class folders; the classes are the folder names in train/, sorted.

    With val/ and test/ both are used as given; if only one of them exists it is the test set; with
    neither the test set is cut off train/. Files are found in class folders at any depth, by their
    ending (.jpg, .png, .webp, ...); hidden files and folders are not looked at.

    Args:
        root: the folder that holds train/.
        image_size: side in pixels, or [H, W]; None: the size of the images, which must be equal.
        memory_gib: decoded images larger than this stay on disk.
        workers: processes that decode images that stay on disk; 0: none but this one.
        skip_unreadable: leave unreadable images out, with a warning for each, instead of refusing.
            For images that stay on disk this takes one pass of decoding them all.
    """

    name = "image_folder"

    def __init__(
        self,
        root: str | None,
        image_size: int | Sequence[int] | None = None,
        memory_gib: float = 4.0,
        workers: int = 2,
        skip_unreadable: bool = False,
    ) -> None:
        if root is None:
            raise ValueError("dataset.root must be given: the folder that holds train/")
        check_positive("dataset.source.memory_gib", memory_gib)
        check_whole("dataset.source.workers", workers, least=0)
        self.root = Path(root).expanduser()
        self.memory_gib = memory_gib
        self.workers = workers
        self.skip_unreadable = skip_unreadable
        self._asked_size = None if image_size is None else _parse_size(image_size)

    def load(self) -> Raw:
        """Read all images, or only list them if they are to stay on disk.

        Raises:
            ValueError: there is no such folder, a class is empty or missing, an image is
                unreadable, sizes differ and no image_size is given.
        """
        train, val, test = (self._load(part) for part in ("train", "val", "test"))
        assert train is not None
        if val is not None and test is None:
            val, test = None, val
        return Raw(train, test, self._class_names, val)

    def digest(self) -> str:
        """sha256 over relative paths and bytes of the files, in hex.

        Above 8 GiB of files it is over paths and file sizes: reading hundreds of gigabytes before
        every sweep, only to name it, would cost more than it protects from.
        """
        digest = hashlib.sha256()
        sizes = {p: p.stat().st_size for files in self._files.values() for p in files.paths}
        reads_content = sum(sizes.values()) <= DIGEST_GIB * GIB
        for files in self._files.values():
            for path in files.paths:
                content = (
                    hashlib.sha256(path.read_bytes()).digest()
                    if reads_content
                    else str(sizes[path]).encode()
                )
                relative = path.relative_to(self.root).as_posix()
                digest.update(os.fsencode(relative) + b"\0" + content + b"\0")
        return digest.hexdigest()

    @cached_property
    def _class_names(self) -> tuple[str, ...]:
        if not self.root.is_dir():
            raise ValueError(f"dataset.root must be an existing folder, got {self.root}")
        train = self.root / "train"
        if not train.is_dir():
            raise ValueError(f"dataset.root must hold a folder train/, got {self.root} without it")
        names = _folder_names(train)
        if len(names) < 2:
            raise ValueError(
                "dataset.root must hold at least 2 class folders in train/, "
                f"got {len(names)} in {train}"
            )
        return names

    @cached_property
    def _files(self) -> dict[str, Files]:
        """The files of each part that exists."""
        names = self._class_names
        parts = {part: self.root / part for part in ("train", "val", "test")}
        return {part: _list(path, names) for part, path in parts.items() if path.is_dir()}

    @cached_property
    def _size(self) -> Size:
        """(H, W) of every decoded image."""
        if self._asked_size is not None:
            return self._asked_size
        first: tuple[Path, Size] | None = None
        paths = [path for files in self._files.values() for path in files.paths]
        for path, size in zip(paths, attempt_all(read_size, paths), strict=True):
            if isinstance(size, Unreadable):
                self._refuse(size)
            elif first is None:
                first = path, size
            elif size != first[1]:
                raise ValueError(
                    "dataset.source.image_size must be a number of pixels or [H, W] where images "
                    f"differ in size, got null for {_sized(*first)} and {_sized(path, size)}"
                )
        if first is None:
            raise ValueError(f"dataset.root must hold readable images, got none in {self.root}")
        return first[1]

    @cached_property
    def _fits_memory(self) -> bool:
        height, width = self._size
        num_images = sum(len(files.paths) for files in self._files.values())
        return num_images * 3 * height * width <= self.memory_gib * GIB

    def _load(self, part: str) -> Labelled | None:
        if part not in self._files:
            return None
        paths, labels = self._files[part]
        images: Images
        if self._fits_memory:
            images, errors = decode_all(paths, self._size)
        else:
            images = FolderImages(paths, self._size, self.workers)
            errors = self._check_on_disk(paths)
        readable = [row for row, error in enumerate(errors) if error is None]
        loaded = Labelled(images, torch.tensor(labels))
        if len(readable) == len(paths):
            return loaded
        for error in errors:
            if error is not None:
                self._refuse(error)
                logger.warning("Image left out: %s", error.cause)
        self._check_left(part, {labels[row] for row in readable})
        return loaded.take(torch.tensor(readable, dtype=torch.int64))

    def _check_on_disk(self, paths: Sequence[Path]) -> list[Unreadable | None]:
        """Headers only, unless damaged images are to be left out: then each must be decoded."""

        def read(path: Path) -> None:
            if self.skip_unreadable:
                decode(path, self._size)
            else:
                read_size(path)

        return attempt_all(read, paths)

    def _refuse(self, error: Unreadable) -> None:
        if not self.skip_unreadable:
            raise error

    def _check_left(self, part: str, labels: set[int]) -> None:
        for label, name in enumerate(self._class_names):
            if label not in labels:
                raise ValueError(
                    "dataset.root must hold a readable image of every class, "
                    f"got {self.root / part / name} without one"
                )


def _list(folder: Path, names: tuple[str, ...]) -> Files:
    """All image files of train/, val/ or test/, which must hold the classes of train/."""
    found = _folder_names(folder)
    missing, unknown = sorted({*names} - {*found}), sorted({*found} - {*names})
    if missing or unknown:
        odd = f"without {missing[0]!r}" if missing else f"with {unknown[0]!r}, unknown in train/"
        raise ValueError(
            f"dataset.root must hold the same class folders in {folder.name}/ as in train/, "
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
    return Files(paths, labels)


def _folder_names(folder: Path) -> tuple[str, ...]:
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


def _parse_size(size: int | Sequence[int]) -> Size:
    sides = [size, size] if isinstance(size, int) else size
    whole = isinstance(sides, Sequence) and not isinstance(sides, str)
    if not whole or len(sides) != 2 or not all(type(s) is int and s >= 1 for s in sides):
        raise ValueError(
            "dataset.source.image_size must be null, a number of pixels >= 1 or [H, W], "
            f"got {shown(size)}"
        )
    height, width = sides
    return height, width


def _sized(path: Path, size: Size) -> str:
    return f"{path} ({size[0]} x {size[1]})"
