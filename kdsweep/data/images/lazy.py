"""Images that stay on disk and are decoded batch by batch.

Shapes: N images of (channels, H, W), B images in a batch.
"""

import hashlib
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.utils import data

from kdsweep.common.disk_cache import DiskCache
from kdsweep.common.text import error_reason
from kdsweep.data.images.encoded import (
    EncodedImages,
    ImageFormat,
    Stamps,
    UnreadableImage,
    content_sha256,
    decode,
)
from kdsweep.data.images.file_digests import are_settled
from kdsweep.data.images.formats import image_formats
from kdsweep.data.images.kept import decoder
from kdsweep.data.types import DataError

READ = "readable"  # the kind of entries of the cache
AHEAD = 2  # batches that each process has ready or is reading
TIMEOUT = 600  # seconds after which a process that has not read its batch is killed
# Raised by torch after a reader process has died: RuntimeError from its check every five seconds,
# the others if it died while a batch was passed through its socket.
WORKER_DIED = (RuntimeError, OSError, EOFError)


class StoredImages:
    """N images, as ``DiskImages``, that are decoded whenever a batch of them is read.

    ``workers`` processes prefetch; 0 decodes in this one. The pixels are the same. ``cache`` keeps
    that all of them could be decoded.
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

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return (len(self), self._format.channels, self._format.height, self._format.width)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: Tensor) -> Tensor:
        """The pixels at ``index`` (B,), as uint8 (B, channels, H, W). Raises UnreadableImage."""
        pixels = torch.empty(len(index), *self.shape[1:], dtype=torch.uint8)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as in attempt_all
            for position, row in enumerate(index.tolist()):
                pixels.numpy()[position] = decode(self._images, row, self._format).pixels
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
        image_formats()  # imports Pillow's plugins here, instead of in every process and epoch
        workers = min(self._workers, len(batches))
        for pixels in _prefetch(_Batches(self, batches), workers, pinned):
            if isinstance(pixels, str):
                raise DataError(pixels)
            yield pixels


class _Batches(data.Dataset[Tensor | str]):
    """The workers' data set: item k is the k-th batch, or the message of its error."""

    def __init__(self, images: StoredImages, batches: Sequence[Tensor]) -> None:
        self._images, self._batches = images, batches

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, number: int) -> Tensor | str:
        try:
            with _time_limit():
                pixels = self._images[self._batches[number]]
        except UnreadableImage as error:
            return str(error)  # raised here it would reach the user wrapped in two tracebacks
        try:
            # The queue would do this in a thread that drops a batch if it does not fit, and the
            # training process would wait for it for ever.
            pixels.share_memory_()
        except RuntimeError as error:
            return _worker_message(f"no room in shared memory for a batch ({error_reason(error)})")
        return pixels


@contextmanager
def _time_limit() -> Iterator[None]:
    """Have the kernel kill this process if it hangs; torch notices its death in the parent."""
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(TIMEOUT)
    try:
        yield
    finally:
        if hasattr(signal, "alarm"):
            signal.alarm(0)


def _prefetch(batches: _Batches, workers: int, pinned: bool) -> Iterator[Tensor | str]:
    with warnings.catch_warnings(), _keep_sigchld_handler():
        # The user chose the number of workers; torch starts them by forking in spite of threads.
        warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
        warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)
        loader = data.DataLoader(
            batches,
            batch_size=None,  # an item is a batch already
            num_workers=workers,
            prefetch_factor=AHEAD,
            pin_memory=pinned,
            generator=torch.Generator(),  # else each epoch would draw from the global one
        )
        try:
            iterator = iter(loader)
        except OSError as error:
            raise DataError(_worker_message(error_reason(error))) from error
    while True:
        try:
            batch = next(iterator)
        except StopIteration:
            return
        except WORKER_DIED as error:
            raise DataError(_worker_message(error_reason(error))) from error
        yield batch


@contextmanager
def _keep_sigchld_handler() -> Iterator[None]:
    """Undo torch's handler, which raises wherever the process is when a worker dies.

    That is usually in the step of a student, which would be reported as the cause.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # torch sets no handler here
        return
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)


def _worker_message(reason: str) -> str:
    return (
        "dataset.source.workers must be 0 where processes that read images end early, unless they "
        "are given more memory, or more shared memory (/dev/shm, docker run --shm-size=8g), got: "
        f"{reason}"
    )
