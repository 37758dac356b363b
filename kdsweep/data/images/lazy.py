"""Images that stay on disk and are decoded batch by batch.

Shapes: N images of (channels, H, W), B images in a batch.
"""

import hashlib
import time
import warnings
from collections.abc import Iterator, Sequence
from functools import cached_property, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdsweep.common.disk_cache import DiskCache
from kdsweep.data.images.encoded import (
    EncodedImages,
    ImageFormat,
    Stamps,
    UnreadableImage,
    content_sha256,
    decode,
)
from kdsweep.data.images.file_digests import are_settled
from kdsweep.data.images.kept import decoder
from kdsweep.data.images.reader_processes import ReaderProcesses

READ = "readable"  # the kind of entries of the cache


class StoredImages:
    """N images, as ``DiskImages``, that are decoded whenever a batch of them is read.

    ``workers`` processes prefetch; 0 decodes in this one. The pixels are the same. They are kept
    from one epoch to the next, until ``close``. ``cache`` keeps that all images could be decoded.
    """

    def __init__(
        self,
        images: EncodedImages,
        image_format: ImageFormat,
        workers: int,
        cache: DiskCache | None = None,
    ) -> None:
        self._images, self._format, self._workers = images, image_format, workers
        self._cache = cache
        self._processes: ReaderProcesses | None = None  # that no epoch is using

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return (len(self), self._format.channels, self._format.height, self._format.width)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: Tensor) -> Tensor:
        """The pixels at ``index`` (B,), as uint8 (B, channels, H, W). Raises UnreadableImage."""
        pixels = torch.empty(len(index), *self.shape[1:], dtype=torch.uint8)
        _decode(self._images, self._format, index.numpy(), pixels)
        return pixels

    def subset(self, index: Tensor) -> "StoredImages":
        return StoredImages(self._images.subset(index), self._format, self._workers, self._cache)

    def num_bytes(self) -> list[int]:
        return self._images.num_bytes()

    def content_digest(self, row: int) -> str:
        """sha256 of an encoded image, in hex. Raises UnreadableImage."""
        try:
            return content_sha256(self._images, row)
        except OSError as error:
            raise UnreadableImage(self._images.name(row), error) from error

    @cached_property
    def state(self) -> str:
        """Changes with the size or the mtime of any file; empty for images in a table."""
        files = self._stamps
        if files is None:
            return ""
        content = files.paths.tobytes() + np.ascontiguousarray(files.marks[:, :2]).tobytes()
        return hashlib.sha256(content).hexdigest()

    @property
    def was_read(self) -> bool:
        key = self._key_of_read
        return self._cache is not None and bool(key) and self._cache.read(READ, key) is not None

    def note_read(self) -> None:
        files, key = self._stamps, self._key_of_read
        if self._cache is None or files is None:
            return
        if are_settled(files.marks, time.time_ns()).all():
            with self._cache.write(READ, key, (1,), np.uint8, "images that were decoded") as kept:
                if kept is not None:
                    kept[:] = 1

    @property
    def _key_of_read(self) -> str:
        """Changes with any file, the format and the decoder; empty for images in a table."""
        if (files := self._stamps) is None:
            return ""
        how = repr((str(self._images.root), *self._format, *decoder()))
        content = how.encode(errors="surrogateescape") + files.paths.tobytes()
        return hashlib.sha256(content + files.marks.tobytes()).hexdigest()

    @property
    def _stamps(self) -> Stamps | None:
        """Of the files; None for images in a table, and if a file is missing."""
        try:
            return self._images.stamps()
        except OSError:  # which is reported when it is decoded
            return None

    def read(self, batches: Sequence[Tensor], *, pinned: bool = False) -> Iterator[Tensor]:
        """The pixels of each index (B,) in ``batches``, in order.

        ``pinned``: a thread copies what the workers have read to pinned memory.

        Raises DataError if an image is unreadable, or a process that reads them has died.
        """
        if self._workers == 0:
            yield from (self[index] for index in batches)
            return
        processes = self._take_processes(min(self._workers, len(batches)), pinned)
        yield from processes.read(batches)
        # Not after an error, nor where the caller has stopped reading: they end in both cases.
        self._processes = processes

    def close(self) -> None:
        """End the processes; the next ``read`` starts others."""
        self._processes = None

    def _take_processes(self, count: int, pinned: bool) -> ReaderProcesses:
        """Those of the epoch before, for this epoch alone, or new ones."""
        processes, self._processes = self._processes, None
        if processes is not None and (processes.count, processes.pinned) == (count, pinned):
            return processes
        read = partial(_decode, self._images, self._format)
        return ReaderProcesses(read, self.shape[1:], count, pinned=pinned)


def _decode(
    images: EncodedImages, image_format: ImageFormat, rows: NDArray[np.int64], pixels: Tensor
) -> None:
    """Decode some images into uint8 (B, channels, H, W). Raises UnreadableImage."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as in attempt_all
        for position, row in enumerate(rows.tolist()):
            pixels.numpy()[position] = decode(images, row, image_format).pixels
