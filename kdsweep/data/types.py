"""Labelled images, and the interface of their sources.

Shapes: N images of (channels, H, W), B images in a batch.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor

from kdsweep.common.disk_cache import DiskCache

INTERPOLATIONS = ("bilinear", "bicubic")  # of images that are resized, with antialiasing


class DataError(ValueError):
    """An image cannot be read, or can no longer be read while runs train on it."""


class DiskImages(Protocol):
    """Images too large for memory, with the part of a tensor's interface that is used here."""

    @property
    def shape(self) -> Sequence[int]:
        """(N, channels, H, W)."""

    def __len__(self) -> int:
        """N."""

    def __getitem__(self, index: Tensor) -> Tensor:
        """The pixels at ``index`` (B,), as uint8 (B, channels, H, W)."""

    def subset(self, index: Tensor) -> "DiskImages":
        """The images at ``index``, still on disk."""

    def read(self, batches: Sequence[Tensor], *, pinned: bool = False) -> Iterator[Tensor]:
        """The pixels of each index (B,) in ``batches``, as uint8 (B, channels, H, W).

        ``pinned``: in pinned memory, where they are read ahead, for the copy to a CUDA device.
        """

    def close(self) -> None:
        """End what reads ahead and is kept for the next ``read``, which may follow."""

    def num_bytes(self) -> list[int]:
        """The encoded size of each image."""

    def content_digest(self, row: int) -> str:
        """sha256 of an encoded image, in hex."""

    @property
    def was_read(self) -> bool:
        """Whether an earlier command has decoded all of them, and no file has changed since."""

    def note_read(self) -> None:
        """All of them have been decoded now, which later commands may know."""

    @property
    def state(self) -> str:
        """Changes with the size or the time of any file; empty for images in a table."""


Images: TypeAlias = Tensor | DiskImages  # a tensor is uint8 (N, channels, H, W)


class LabelledImages(NamedTuple):
    """Images and their class numbers, in the same order."""

    images: Images  # uint8 (N, channels, H, W)
    labels: Tensor  # (N,) int64

    def subset(self, index: Tensor) -> "LabelledImages":
        """Only the images at ``index`` (B,), in that order."""
        images = self.images
        chosen = images[index] if isinstance(images, Tensor) else images.subset(index)
        return LabelledImages(chosen, self.labels[index])

    def to(self, device: torch.device | str) -> "LabelledImages":
        """A copy on another device. Images on disk stay there: their batches are moved."""
        images = self.images
        moved = images.to(device) if isinstance(images, Tensor) else images
        return LabelledImages(moved, self.labels.to(device))


def in_order(images: Images, batch_size: int, *, pinned: bool = False) -> Iterator[Tensor]:
    """All pixels, first to last, as uint8 (B, channels, H, W); ``pinned`` as in `DiskImages`."""
    if isinstance(images, Tensor):
        yield from images.split(batch_size)
    else:
        yield from images.read(torch.arange(len(images)).split(batch_size), pinned=pinned)


class Decoding(NamedTuple):
    """How a source makes images of its size of those that have another, or more than 8 bits."""

    crop: bool = False  # crop around the centre to its proportions, instead of stretching
    white: float | None = None  # the value that becomes 255 (``pixels.to_eight_bits``)
    draft: bool = False  # large JPEG files are decoded at a fraction of their size
    interpolation: str = "bilinear"  # of images that are resized


AS_THEY_ARE = Decoding()  # of a source whose images are decoded already


class SourceData(NamedTuple):
    """All images of a source, before they are split."""

    train: LabelledImages
    test: LabelledImages | None  # None: the source has no test set
    class_names: tuple[str, ...]
    val: LabelledImages | None = None
    unread_test_set: Path | None = None  # what may be meant as one, where test is None
    decoding: Decoding = AS_THEY_ARE


class Source(Protocol):
    """A supplier of images, such as an archive or a folder."""

    name: str

    def load(self) -> SourceData:
        """Read the images. Raises ValueError if they are missing or damaged."""

    def digest(self) -> str:
        """Identifies the content: equal content gives equal text on every machine."""


@runtime_checkable
class NamedClasses(Protocol):
    """A source of kdsweep's that has the names of its classes without reading an image."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of the labels. Raises ValueError as `Source.load` does."""


class Augmentation(Protocol):
    """A change of training images, drawn anew for each batch; the same for a whole cohort."""

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The augmented images, uint8 (B, channels, H, W) on the device of the given ones.

        Random numbers are drawn from the generator, which is on the CPU, and from nothing else: a
        batch is then the same whenever it is computed. The given images stay as they are.
        """


class UsesCache:
    """A source that keeps what it has computed on disk, for later commands, if it may."""

    cache: DiskCache | None = None  # where; set by who builds the source


class CachedSource:
    """Reads a source's images once, for all data sets that are cut from them."""

    def __init__(self, source: Source) -> None:
        self.name = source.name
        self.digest = source.digest
        self.load = cache(source.load)
