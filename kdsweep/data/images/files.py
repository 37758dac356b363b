"""Image files: the search for them in class folders, and a list of them as encoded images."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from kdsweep.common.notices import warn_once
from kdsweep.common.pacing import with_lines
from kdsweep.common.text import escape_unprintable
from kdsweep.data.images.content import Part
from kdsweep.data.images.encoded import Stamps, regular
from kdsweep.data.images.formats import image_endings

# Kinds of skipped files, as they are named in the warning.
DUPLICATE_LINK = "links to what is read already"
NOT_REGULAR = "not regular files"
OUTSIDE = "images outside of class folders"
RESOURCE_FORKS = "__MACOSX"  # in archives made on a Mac, next to the folders of images
NO_ENDING = "no ending"


class SkippedFiles:
    """Counts the files in folders of images that are not read, by kind.

    Files with names that end in ``published`` belong to the published set and are not counted.
    """

    def __init__(self, published: str | None = None) -> None:
        self._published = published
        self._count: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, kind: str, path: str) -> None:
        """Count a file, link or device."""
        if self._published is not None and path.endswith(self._published):
            return
        self._count[kind] += 1
        self._first.setdefault(kind, path)

    def warn(self, root: Path) -> None:
        """Log one warning about all files that were skipped in the folder of a data set."""
        if kinds := str(self):
            warn_once(f"dataset.root: left out of {escape_unprintable(str(root))} are {kinds}")

    def __str__(self) -> str:
        """``.txt (12), not regular files (1: train/cat/pipe.png)``, most of them first."""
        return ", ".join(
            f"{kind} ({count})"
            if kind.startswith(".")
            else f"{kind} ({count}: {escape_unprintable(self._first[kind])})"
            for kind, count in self._count.most_common()
        )


class ImageFiles:
    """Files below ``root``, as ``EncodedImages``."""

    def __init__(self, root: Path, paths: Sequence[str | Path]) -> None:
        self.root = root
        # One flat array instead of N objects: workers share it without ever copying it.
        self._relative = np.array([os.fsencode(path) for path in _relative_to(root, paths)])

    def __len__(self) -> int:
        return len(self._relative)

    def open(self, row: int) -> Path:
        return regular(self._path(row))

    def name(self, row: int) -> str:
        return escape_unprintable(str(self._path(row)))

    def key(self, row: int) -> str:
        return os.fsdecode(self._relative[row]).replace(os.sep, "/")

    def num_bytes(self) -> list[int]:
        sizes: list[int] = self.stamps().marks[:, 0].tolist()
        return sizes

    def stamps(self) -> Stamps:
        """What changes when a file does. Raises OSError if one is missing."""
        above = os.path.join(os.fsencode(self.root), b"")
        paths = with_lines(self._relative.tolist(), "looking for files that have changed")
        stats = (os.stat(above + path) for path in paths)
        marks = [(found.st_size, found.st_mtime_ns, found.st_ctime_ns) for found in stats]
        return Stamps(self._relative, np.array(marks, dtype=np.int64).reshape(-1, 3))

    def table_state(self) -> None:
        return None

    def subset(self, index: Tensor) -> "ImageFiles":
        chosen = copy(self)
        chosen._relative = self._relative[index.numpy()]
        return chosen

    def _path(self, row: int) -> Path:
        return self.root / os.fsdecode(self._relative[row])


def _relative_to(root: Path, paths: Sequence[str | Path]) -> Iterator[str]:
    """Paths below the root, relative to it; ``pathlib`` takes a second for 60,000 of them."""
    above = os.path.join(str(root), "")
    for path in (os.fspath(path) for path in paths):
        is_below = path.startswith(above)
        yield path[len(above) :] if is_below else str(Path(path).relative_to(root))


def class_folder(
    folder: Path,
    names: Sequence[str],
    *,
    skipped: SkippedFiles,
    known: str = "train/",
    there: Sequence[str] | None = None,
    root: Path | None = None,
) -> Part:
    """All images of a part's folder, which must hold exactly the class folders ``names``.

    ``there`` are those it has, by default the folders in it.

    Files are found at any depth, by their ending; hidden files and folders are ignored. Only
    regular files are read, each once, even if several links lead to it: an image that lies in a
    class folder itself belongs to this class.

    ``known`` is the origin of the names, for the message about a difference. Paths of images are
    relative to ``root``, by default the folder above.
    """
    _check_names(folder, folder_names(folder) if there is None else there, names, known)
    for entry in visible_entries(folder):
        if not _is_folder(entry):
            kind = _kind(entry)
            skipped.add(OUTSIDE if kind in image_endings() else kind, entry.path)
    found = ((name, file) for name in names for file in _image_files(folder / name, skipped))
    files_of_class: dict[str, list[_File]] = {name: [] for name in names}
    for name, file in with_lines(found, f"searching {folder.name} for images"):
        files_of_class[name].append(file)
    taken = {file.real for files in files_of_class.values() for file in files if not file.is_linked}
    paths: list[str] = []
    labels: list[int] = []
    for label, (name, files) in enumerate(files_of_class.items()):
        own = []
        for path, real, is_linked in files:
            if is_linked and real in taken:
                skipped.add(DUPLICATE_LINK, path)
            else:
                taken.add(real)
                own.append(path)
        if not own:
            raise ValueError(
                f"dataset.root must hold images in every class folder, got {folder / name} "
                f"without any{f', left out are {skipped}' if str(skipped) else ''}"
            )
        paths += sorted(own, key=_in_order_of_folders)
        labels += [label] * len(own)
    return Part(ImageFiles(root or folder.parent, paths), labels)


def folder_names(folder: Path) -> tuple[str, ...]:
    """The folders in train/, val/ or test/ that are not hidden, sorted."""
    if not folder.is_dir():
        raise ValueError(
            f"dataset.root must hold a folder {folder.name}/, got {folder.parent} without it"
        )
    return tuple(entry.name for entry in visible_entries(folder) if _is_folder(entry))


def _check_names(folder: Path, there: Sequence[str], names: Sequence[str], known: str) -> None:
    missing, unknown = sorted({*names} - {*there}), sorted({*there} - {*names})
    if missing or unknown:
        odd = f"without {missing[0]!r}" if missing else f"with {unknown[0]!r}, unknown in {known}"
        raise ValueError(
            f"dataset.root must hold the same class folders in {folder.name}/ as in {known}, "
            f"got {folder} {odd}"
        )


def _in_order_of_folders(path: str) -> list[str]:
    """The key of the order that ``pathlib`` sorts paths in, folder by folder."""
    return os.path.normcase(path).split(os.sep)


class _File(NamedTuple):
    path: str
    real: str  # path with all links resolved
    is_linked: bool


def _image_files(folder: Path, skipped: SkippedFiles) -> Iterator[_File]:
    """The images below a class folder. No folder is visited twice, so cycles of links end."""
    visited: set[str] = set()
    own, linked = ([], [str(folder)]) if folder.is_symlink() else ([str(folder)], [])
    while own or linked:
        is_linked = not own  # links come last, so that an image counts where it lies
        parent = (own or linked).pop()
        real_parent = os.path.realpath(parent)
        if real_parent in visited:
            skipped.add(DUPLICATE_LINK, parent)
            continue
        visited.add(real_parent)
        for entry in visible_entries(parent):
            path, via_link = entry.path, is_linked or entry.is_symlink()
            real = os.path.realpath(path) if via_link else os.path.join(real_parent, entry.name)
            if _is_folder(entry):
                if Path(real_parent).is_relative_to(real):
                    skipped.add(DUPLICATE_LINK, path)
                else:
                    (linked if via_link else own).append(path)
            elif (kind := _kind(entry)) in image_endings():
                yield _File(path, real, via_link)
            else:
                skipped.add(kind, path)


def visible_entries(folder: str | Path) -> list["os.DirEntry[str]"]:
    """The entries of a folder that are not hidden, sorted by name. Raises OSError."""
    with os.scandir(folder) as entries:
        return sorted(filter(is_visible, entries), key=lambda entry: entry.name)


def is_visible(entry: "os.DirEntry[str]") -> bool:
    return not entry.name.startswith((".", RESOURCE_FORKS))


def is_image(entry: "os.DirEntry[str]") -> bool:
    """Whether it is a file with the ending of an image."""
    return not _is_folder(entry) and _kind(entry) in image_endings()


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a cycle of links
        return False


def _kind(entry: "os.DirEntry[str]") -> str:
    """The ending of a file in lower case, or the kind of another entry."""
    try:
        is_regular = entry.is_file()
    except OSError:  # as above
        is_regular = False
    if not is_regular:
        return NOT_REGULAR
    dot = entry.name.rfind(".")
    return entry.name[dot:].lower() if 0 < dot < len(entry.name) - 1 else NO_ENDING
