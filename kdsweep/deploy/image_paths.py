"""The images that the user names: files, folders, patterns and lists."""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from kdsweep.common.text import escape_unprintable
from kdsweep.data.images.formats import image_endings

LIST = "-"  # stands for the lines of stdin


def image_paths(words: Iterable[str], stdin: BinaryIO) -> Iterator[str]:
    """The path of each image, in the order of the words, those of a folder or a pattern sorted.

    A folder stands for all images below it, by their endings; hidden files and folders are left
    out. A pattern (`*`, `?`, `[...]`, `**`) is one if no file has that name. `-` stands for a path
    a line of stdin. What does not exist stays in the list.
    """
    for word in words:
        if word == LIST:
            yield from filter(None, (os.fsdecode(line.rstrip(b"\r\n")) for line in stdin))
        elif Path(word).is_dir():
            yield from images_below(Path(word))
        elif glob.has_magic(word) and not Path(word).exists():
            yield from _matches(word) or [word]
        else:
            yield word


def images_below(folder: Path) -> Iterator[str]:
    """The images of a folder and of those in it, sorted."""
    endings = image_endings()
    for path in sorted(folder.rglob("*")):
        is_hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in endings and not is_hidden and path.is_file():
            yield str(path)


def _matches(pattern: str) -> list[str]:
    """What matches a pattern; of a folder its images."""
    words = sorted(glob.glob(pattern, recursive=True))
    return [
        path
        for word in words
        for path in (images_below(Path(word)) if Path(word).is_dir() else [word])
    ]


class ClassFolders:
    """The classes whose folders images are in: `animals/cats/1.png` of `cats` or `animals/cats`."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._names = set(classes)
        self._depth = 1 + max(name.count("/") for name in classes)

    def label_of(self, path: str) -> str | None:
        """The class that an image's folder is named as, None if there is none."""
        parts = Path(path).absolute().parts[:-1]
        depths = range(1, min(self._depth, len(parts)) + 1)
        names = (escape_unprintable("/".join(parts[-depth:])) for depth in depths)
        return next((name for name in names if name in self._names), None)
