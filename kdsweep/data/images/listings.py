"""What was found in class folders, kept between commands, so that millions of files need no search.

A folder is searched again when an entry in it is added, removed or renamed: its mtime shows that.
What is in a file may change without it, so the files are looked at in every command (``stamps``).
"""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdsweep.common.disk_cache import DiskCache
from kdsweep.data.images.file_digests import are_settled
from kdsweep.data.images.formats import image_endings

KIND = "listings"
LENGTH = 8  # bytes of the length of what precedes the paths
RULES = 1  # raised whenever the same folders give other images

FolderMark = tuple[str, int, int, int]  # path, inode, and the times of mtime and ctime in ns


class Listing(NamedTuple):
    """The images of the classes of one part.

    Attributes:
        paths: (N,), relative to a root, class by class.
        counts: how many are of each class.
        skipped: what is not read, as ``SkippedFiles.kinds``.
        folders: those that were searched, as they were before; empty if that does not show every
            change.
    """

    paths: NDArray[np.bytes_]
    counts: list[int]
    skipped: list[tuple[str, str, int]]
    folders: list[FolderMark]


def mark_of(folder: str | Path) -> FolderMark:
    """A folder as it is now. Raises OSError if there is none."""
    stat = os.stat(folder)
    return os.fspath(folder), stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns


class KeptListing:
    """The listing of a part's folder, if it is kept.

    Args:
        cache: where; None: nowhere.
        names: of the class folders, relative to ``folder``.
        root: what the paths are relative to.
        published: the files that are skipped without a warning.
    """

    def __init__(
        self,
        cache: DiskCache | None,
        folder: Path,
        names: Sequence[str],
        root: Path,
        published: str | None,
    ) -> None:
        self._cache, self._folder = cache, folder
        words = [RULES, str(folder), os.path.realpath(folder), str(root), [*names], published]
        text = json.dumps([*words, sorted(image_endings())])
        self._key = hashlib.sha256(text.encode()).hexdigest()

    def read(self) -> Listing | None:
        """What was found, if the folders are as they were then; else None."""
        content = None if self._cache is None else self._cache.read(KIND, self._key)
        if content is None:
            return None
        start = LENGTH + int.from_bytes(content[:LENGTH].tobytes(), "little")
        width, counts, skipped, folders = json.loads(content[LENGTH:start].tobytes())
        try:
            if any(mark_of(folder) != (folder, *rest) for folder, *rest in folders):
                return None
        except OSError:  # one is gone
            return None
        paths: NDArray[np.bytes_] = np.array(content[start:]).view(f"S{width}")
        return Listing(paths, counts, [(kind, path, count) for kind, path, count in skipped], [])

    def keep(self, listing: Listing) -> None:
        """Keep it, unless a folder has changed a moment ago and may change again unseen."""
        if self._cache is None or not listing.folders or not len(listing.paths):
            return
        marks = np.array([(0, *times) for _, _, *times in listing.folders], np.int64)
        if not are_settled(marks, time.time_ns()).all():
            return
        width = listing.paths.dtype.itemsize
        head = json.dumps([width, listing.counts, listing.skipped, listing.folders]).encode()
        parts = [len(head).to_bytes(LENGTH, "little"), head, listing.paths.tobytes()]
        size = sum(map(len, parts))
        self._cache.discard(KIND, self._key)  # of the folder as it was
        about = f"list of the images of {self._folder}"
        with self._cache.write(KIND, self._key, (size,), np.uint8, about) as kept:
            if kept is not None:
                kept[:] = np.frombuffer(b"".join(parts), np.uint8)
