"""Images that stay on disk and are decoded batch by batch.

Shapes: N images of (channels, H, W), B images in a batch.
"""

import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.utils import data

from kdsweep.data.images.encoded import (
    EncodedImages,
    ImageFormat,
    UnreadableImage,
    content_sha256,
    decode,
)
from kdsweep.data.types import DataError

PATIENCE = 600  # seconds in which a process must have read a batch, or is ended
# What torch raises where a process that reads has died: RuntimeError from its look at them every
# five seconds; the others if that was while a batch was handed over through the process's socket.
LOST = (RuntimeError, OSError, EOFError)


class StoredImages:
    """Images that are decoded whenever a batch asks for them.

    Args:
        images: N encoded images.
        image_format: of the decoded images.
        workers: processes that read ahead; 0 reads in this one. The pixels are the same.
    """

    def __init__(self, images: EncodedImages, image_format: ImageFormat, workers: int) -> None:
        self._images = images
        self._format = image_format
        self._workers = workers

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, channels, H, W)."""
        return (len(self), self._format.channels, self._format.height, self._format.width)

    def __len__(self) -> int:
        """N."""
        return len(self._images)

    def __getitem__(self, index: Tensor) -> Tensor:
        """Decode the images at ``index`` (B,) to uint8 (B, channels, H, W). Raises Unreadable."""
        pixels = torch.empty(len(index), *self.shape[1:], dtype=torch.uint8)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as in attempt_all
            for place, row in enumerate(index.tolist()):
                pixels.numpy()[place] = decode(self._images, row, self._format).pixels
        return pixels

    def subset(self, index: Tensor) -> "StoredImages":
        """The images at ``index``, still on disk."""
        return StoredImages(self._images.subset(index), self._format, self._workers)

    def num_bytes(self) -> list[int]:
        """The encoded size of each image."""
        return self._images.num_bytes()

    def content_digest(self, row: int) -> str:
        """sha256 of an encoded image, in hex. Raises Unreadable."""
        try:
            return content_sha256(self._images, row)
        except OSError as error:
            raise UnreadableImage(self._images.name(row), error) from error

    def read(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        """For each index (B,) in ``batches`` its pixels, in order.

        Raises:
            DataError: an image is unreadable, or a process that reads them has died.
        """
        if self._workers == 0:
            yield from (self[index] for index in batches)
            return
        for found in _read_ahead(_Batches(self, batches), min(self._workers, len(batches))):
            if isinstance(found, str):
                raise DataError(found)
            yield found


class _Batches(data.Dataset[Tensor | str]):
    """What the workers read: item k is the k-th batch, or why it cannot be read."""

    def __init__(self, images: StoredImages, batches: Sequence[Tensor]) -> None:
        self._images = images
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, number: int) -> Tensor | str:
        try:
            with _in_time():
                pixels = self._images[self._batches[number]]
        except UnreadableImage as error:
            return str(error)  # raised here it would reach the user wrapped in two tracebacks
        try:
            # Left to the queue, this happens in a thread of its own, which drops a batch that does
            # not fit and continues: the training process would wait for it for ever.
            pixels.share_memory_()
        except RuntimeError as error:
            return _lost(f"no room in shared memory for a batch ({_first_line(error)})")
        return pixels


@contextmanager
def _in_time() -> Iterator[None]:
    """Have the kernel end this process if it does not get on; its parent sees that it is gone."""
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(PATIENCE)
    try:
        yield
    finally:
        if hasattr(signal, "alarm"):
            signal.alarm(0)


def _read_ahead(batches: _Batches, workers: int) -> Iterator[Tensor | str]:
    with warnings.catch_warnings(), _own_sigchld():
        # The user chose the number of workers; forking beside threads is how torch starts them.
        warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
        warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)
        loader = data.DataLoader(
            batches,
            batch_size=None,  # an item is a batch already
            num_workers=workers,
            generator=torch.Generator(),  # else each epoch would draw from the global one
        )
        try:
            started = iter(loader)
        except OSError as error:
            raise DataError(_lost(_first_line(error))) from error
    while True:
        try:
            found = next(started)
        except StopIteration:
            return
        except LOST as error:
            raise DataError(_lost(_first_line(error))) from error
        yield found


@contextmanager
def _own_sigchld() -> Iterator[None]:
    """Keep torch's handler away, which raises the death of a worker wherever the process is.

    That is in the step of a student, as a rule, which would be blamed for it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # nor does torch set one here
        return
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _lost(reason: str) -> str:
    return (
        "dataset.source.workers must be 0 where processes that read images end early, unless they "
        "are given more memory, or more shared memory (/dev/shm, docker run --shm-size=8g), got: "
        f"{reason}"
    )
