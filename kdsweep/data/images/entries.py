"""The entries of folders of images: which are images, folders of images, or neither."""

import os
from collections import Counter
from pathlib import Path

from kdsweep.common.notices import warn_once
from kdsweep.common.text import escape_unprintable
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
        self.published = published
        self._count: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, kind: str, path: str, count: int = 1) -> None:
        """Count a file, link or device; or so many, of which this is the first."""
        if self.published is not None and path.endswith(self.published):
            return
        self._count[kind] += count
        self._first.setdefault(kind, path)

    def kinds(self) -> list[tuple[str, str, int]]:
        """The arguments of `add` that give the same counts."""
        return [(kind, self._first[kind], count) for kind, count in self._count.items()]

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


def folder_names(folder: Path) -> tuple[str, ...]:
    """The folders in train/, val/ or test/ that are not hidden, sorted."""
    if not folder.is_dir():
        raise ValueError(
            f"dataset.root must hold a folder {folder.name}/, got {folder.parent} without it"
        )
    return tuple(entry.name for entry in visible_entries(folder) if is_folder(entry))


def visible_entries(folder: str | Path) -> list["os.DirEntry[str]"]:
    """The entries of a folder that are not hidden, sorted by name. Raises OSError."""
    with os.scandir(folder) as entries:
        return sorted(filter(is_visible, entries), key=lambda entry: entry.name)


def is_visible(entry: "os.DirEntry[str]") -> bool:
    return not entry.name.startswith((".", RESOURCE_FORKS))


def is_image(entry: "os.DirEntry[str]") -> bool:
    """Whether it is a file with the ending of an image."""
    return not is_folder(entry) and kind_of(entry) in image_endings()


def is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a cycle of links
        return False


def kind_of(entry: "os.DirEntry[str]") -> str:
    """The ending of a file in lower case, or the kind of another entry."""
    try:
        is_regular = entry.is_file()
    except OSError:  # as above
        is_regular = False
    if not is_regular:
        return NOT_REGULAR
    dot = entry.name.rfind(".")
    return entry.name[dot:].lower() if 0 < dot < len(entry.name) - 1 else NO_ENDING
