"""The sha256 of files, kept between commands, so that unchanged ones are not hashed again."""

import hashlib
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdsweep.common.disk_cache import DiskCache
from kdsweep.data.images.encoded import Stamps

KIND = "digests"
SHA256 = 32  # bytes
# A file may change again without a new time within the resolution of its disk's clock: 2 s on FAT,
# and some milliseconds of the kernel's. Git has the same rule ("racy git").
UNSETTLED_NS = 2_500_000_000

Digests = NDArray[np.uint8]  # (N, 32)


class FileDigests:
    """The digests of the files below one root, of those that have not changed since.

    A file has not changed if its path, size, mtime and ctime are the same, and both times were in
    the past when it was hashed.
    """

    def __init__(self, cache: DiskCache | None, root: Path) -> None:
        self._cache, self._root = cache, os.path.realpath(root)
        self._key = hashlib.sha256(os.fsencode(self._root)).hexdigest()
        self._known = self._read()
        self._at = {path: row for row, path in enumerate(self._known["path"].tolist())}
        self._seen: list[NDArray[np.void]] = []
        self._looked_at: list[NDArray[np.bytes_]] = []
        self._is_changed = False

    def find(self, files: Stamps) -> tuple[Digests, NDArray[np.bool_]]:
        """The digest of each file, and whether it is known."""
        digests = np.zeros((len(files.paths), SHA256), np.uint8)
        rows = np.array([self._at.get(path, -1) for path in files.paths.tolist()], np.int64)
        is_known = rows >= 0
        is_known[is_known] = np.all(
            self._known["marks"][rows[is_known]] == files.marks[is_known], axis=1
        )
        digests[is_known] = self._known["sha256"][rows[is_known]]
        return digests, is_known

    def note(self, files: Stamps, digests: Digests, is_known: NDArray[np.bool_], now: int) -> None:
        """Files have these digests; those that are not known were hashed after ``now`` (in ns)."""
        keep = is_known | are_settled(files.marks, now)
        table = np.empty(keep.sum(), _dtype(max(1, files.paths.dtype.itemsize)))
        table["path"], table["marks"] = files.paths[keep], files.marks[keep]
        table["sha256"] = digests[keep]
        self._seen.append(table)
        self._looked_at.append(files.paths)
        self._is_changed |= bool((keep & ~is_known).any())

    def save(self) -> None:
        """Keep the digests that were noted, and the earlier ones of files that are still there.

        Several data sets may use different files of a root.
        """
        if self._cache is None or not self._is_changed:
            return
        tables = [*self._seen, self._of_others()]
        width = max(table["path"].dtype.itemsize for table in tables)
        table = np.concatenate([table.astype(_dtype(width)) for table in tables])
        content = table.view(np.uint8).reshape(len(table), -1)
        self._cache.discard(KIND, self._key)
        about = f"digests of the files of {self._root}"
        with self._cache.write(KIND, self._key, content.shape, np.uint8, about) as kept:
            if kept is not None:
                kept[:] = content

    def _of_others(self) -> NDArray[np.void]:
        """The earlier digests of files that were not looked at now."""
        looked_at = {path for paths in self._looked_at for path in paths.tolist()}
        above = os.path.join(os.fsencode(self._root), b"")
        is_kept = [
            path not in looked_at and os.path.exists(above + path)
            for path in self._known["path"].tolist()
        ]
        table: NDArray[np.void] = self._known[np.array(is_kept, np.bool_)]
        return table

    def _read(self) -> NDArray[np.void]:
        content = None if self._cache is None else self._cache.read(KIND, self._key)
        if content is None:
            return np.empty(0, _dtype(1))
        width = content.shape[1] - _dtype(0).itemsize
        table: NDArray[np.void] = np.array(content).view(_dtype(width))[:, 0]
        return table


def are_settled(marks: NDArray[np.int64], now: int) -> NDArray[np.bool_]:
    """Whether each file had these marks (N, 3) long enough before ``now`` (in ns), (N,)."""
    is_settled: NDArray[np.bool_] = marks[:, 1:].max(axis=1, initial=0) < now - UNSETTLED_NS
    return is_settled


def _dtype(width: int) -> np.dtype[np.void]:
    """A file with a path of at most so many bytes."""
    return np.dtype([("path", f"S{width}"), ("marks", "<i8", 3), ("sha256", "u1", SHA256)])
