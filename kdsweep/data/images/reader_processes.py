"""Processes that read batches of images ahead of the one that trains.

Shapes: B images of (channels, H, W) in a batch.
"""

import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils import data

from kdsweep.common.text import error_reason
from kdsweep.data.images.encoded import UnreadableImage
from kdsweep.data.images.formats import image_formats
from kdsweep.data.types import DataError

AHEAD = 2  # batches that each process has ready or is reading
TIMEOUT = 600  # seconds after which a process that has not read its batch is killed
# Raised by torch after a reader process has died: RuntimeError from its check every five seconds,
# the others if it died while a batch was passed through its socket.
WORKER_DIED = (RuntimeError, OSError, EOFError)

Rows = NDArray[np.int64]  # (B,)
Read = Callable[[Rows, Tensor], None]


class ReaderProcesses:
    """Processes that start when they first read, and end when this object is freed.

    Args:
        read: what they run: writes the pixels of rows (B,) to uint8 (B, channels, H, W). It must
            not refer to the owner of this object, which would then not be freed at once.
        shape: (channels, H, W) of the images.
        count: of processes.
        pinned: a thread of this process copies what they have read to pinned memory.
    """

    def __init__(
        self, read: Read, shape: tuple[int, int, int], count: int, *, pinned: bool
    ) -> None:
        self.count, self.pinned = count, pinned
        self._batches: list[Rows] = []  # of an epoch; the loader iterates over it in each
        image_formats()  # imports Pillow's plugins here, instead of in every process
        with _without_advice():
            self._loader: data.DataLoader[Tensor | str] = data.DataLoader(
                _Reading(read, shape),
                sampler=self._batches,
                batch_size=None,  # an item is a batch already
                num_workers=count,
                prefetch_factor=AHEAD,
                pin_memory=pinned,
                generator=torch.Generator(),  # else each epoch would draw from the global one
                persistent_workers=True,
            )

    def read(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        """The pixels of each index (B,) in ``batches``, in order; all before the next call.

        Raises DataError if an image is unreadable, or a process has died.
        """
        self._batches[:] = [batch.numpy() for batch in batches]
        with _without_advice(), _keep_sigchld_handler():
            try:
                iterator = iter(self._loader)
            except WORKER_DIED as error:
                raise DataError(_worker_message(error_reason(error))) from error
        while True:
            try:
                pixels = next(iterator)
            except StopIteration:
                return
            except WORKER_DIED as error:
                raise DataError(_worker_message(error_reason(error))) from error
            if isinstance(pixels, str):
                raise DataError(pixels)
            yield pixels


class _Reading(data.Dataset[Tensor | str]):
    """The processes' data set: an item is a batch, or the message of its error."""

    def __init__(self, read: Read, shape: tuple[int, int, int]) -> None:
        self._read, self._shape = read, shape

    def __getitem__(self, rows: Rows) -> Tensor | str:
        try:
            # The queue would copy it there in a thread that drops a batch if it does not fit, and
            # the training process would wait for it for ever.
            pixels = _in_shared_memory(len(rows), *self._shape)
        except RuntimeError as error:
            return _worker_message(f"no room in shared memory for a batch ({error_reason(error)})")
        try:
            with _time_limit():
                self._read(rows, pixels)
        except UnreadableImage as error:
            return str(error)  # raised here it would reach the user wrapped in two tracebacks
        return pixels


def _in_shared_memory(*shape: int) -> Tensor:
    """An uninitialised uint8 tensor, as torch's `default_collate` makes them in such a process.

    ``Tensor.share_memory_`` would copy one from memory of this process, whose pages the kernel has
    to provide for each batch anew.
    """
    storage = torch.UntypedStorage._new_shared(prod(shape))
    return torch.empty(0, dtype=torch.uint8).set_(storage).view(shape)


@contextmanager
def _without_advice() -> Iterator[None]:
    """The user chose the number of processes; torch starts them by forking in spite of threads."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
        warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)
        yield


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
