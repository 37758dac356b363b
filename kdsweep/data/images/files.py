"""Image files as encoded images."""

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from kdsweep.common.pacing import with_lines
from kdsweep.common.text import escape_unprintable
from kdsweep.data.images.encoded import Stamps, regular

AT_A_TIME = 1000  # files that a thread looks at before it is given others
# The kernel looks at a file of this machine in fewer seconds; over a network it takes many more,
# in which threads wait for as many files at once.
LOCAL = 20e-6
AT_ONCE = 32


class ImageFiles:
    """Files below ``root``, as ``EncodedImages``.

    Args:
        paths: below the root; as an array, relative to it.
    """

    def __init__(self, root: Path, paths: Sequence[str | Path] | NDArray[np.bytes_]) -> None:
        self.root = root
        # One flat array instead of N objects: workers share it without ever copying it.
        if isinstance(paths, np.ndarray):
            self._relative: NDArray[np.bytes_] = paths
        else:
            self._relative = np.array([os.fsencode(path) for path in _relative_to(root, paths)])
        self._marks: NDArray[np.int64] | None = None

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

    def stamps(self, *, anew: bool = False) -> Stamps:
        if self._marks is None or anew:
            self._marks = self._read_marks()
        return Stamps(self._relative, self._marks)

    def table_state(self) -> None:
        return None

    def subset(self, index: Tensor) -> "ImageFiles":
        chosen, rows = copy(self), index.numpy()
        chosen._relative = self._relative[rows]
        chosen._marks = None if self._marks is None else self._marks[rows]
        return chosen

    def _path(self, row: int) -> Path:
        return self.root / os.fsdecode(self._relative[row])

    def _read_marks(self) -> NDArray[np.int64]:
        """Those of each file, (N, 3). Raises OSError if one is missing."""
        above = os.path.join(os.fsencode(self.root), b"")
        marks = np.empty((len(self), 3), np.int64)

        def look(first: int) -> list[bytes]:
            rows = slice(first, first + AT_A_TIME)
            paths: list[bytes] = self._relative[rows].tolist()
            stats = [os.stat(above + path) for path in paths]
            marks[rows] = [(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for stat in stats]
            return paths

        def looked() -> Iterator[list[bytes]]:
            began = time.perf_counter()
            yield look(0)
            rest = range(AT_A_TIME, len(self), AT_A_TIME)
            if time.perf_counter() - began < LOCAL * min(AT_A_TIME, len(self)):
                yield from map(look, rest)
                return
            with ThreadPoolExecutor(AT_ONCE) as pool:
                try:
                    yield from pool.map(look, rest)
                finally:
                    pool.shutdown(cancel_futures=True)  # Ctrl-C waits for no more files

        files, what = chain.from_iterable(looked()), "looking for files that have changed"
        for _ in with_lines(files, what, total=len(self)):
            pass
        return marks


def _relative_to(root: Path, paths: Sequence[str | Path]) -> Iterator[str]:
    """Paths below the root, relative to it; ``pathlib`` takes a second for 60,000 of them."""
    above = os.path.join(str(root), "")
    for path in (os.fspath(path) for path in paths):
        is_below = path.startswith(above)
        yield path[len(above) :] if is_below else str(Path(path).relative_to(root))
