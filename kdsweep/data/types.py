"""Images with their labels, and what a source of them looks like.

Shapes: N images of (channels, H, W), B images in a batch.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor


class DataError(ValueError):
    """Images that cannot be read any more while runs are trained on them."""


class DiskImages(Protocol):
    """Images too large for memory: as much of a uint8 tensor's interface as the data part needs."""

    @property
    def shape(self) -> Sequence[int]:
        """(N, channels, H, W), as of a tensor."""

    def __len__(self) -> int:
        """N."""

    def __getitem__(self, index: Tensor) -> Tensor:
        """The pixels at ``index`` (B,), as uint8 (B, channels, H, W)."""

    def subset(self, index: Tensor) -> "DiskImages":
        """The images at ``index``, still on disk."""

    def read(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        """For each ``index`` (B,) in ``batches`` its pixels, as uint8 (B, channels, H, W)."""

    def num_bytes(self) -> list[int]:
        """The encoded size of each image."""

    def content_digest(self, row: int) -> str:
        """sha256 of an encoded image, in hex."""


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
        """The same on another device. Images that stay on disk stay there: their batches move."""
        images = self.images
        moved = images.to(device) if isinstance(images, Tensor) else images
        return LabelledImages(moved, self.labels.to(device))


def in_order(images: Images, batch_size: int) -> Iterator[Tensor]:
    """All pixels, first to last, as uint8 (B, channels, H, W)."""
    if isinstance(images, Tensor):
        yield from images.split(batch_size)
    else:
        yield from images.read(torch.arange(len(images)).split(batch_size))


class SourceData(NamedTuple):
    """What a source holds, before any split of ours."""

    train: LabelledImages
    test: LabelledImages | None  # None: the source has no test set of its own
    class_names: tuple[str, ...]
    val: LabelledImages | None = None  # a validation set of the source's own


class Source(Protocol):
    """Where images come from."""

    name: str

    def load(self) -> SourceData:
        """Read the images; a ``ValueError`` says what is wrong with them."""

    def digest(self) -> str:
        """What identifies the content: equal content, equal text, on every machine."""


class CachedSource:
    """A source whose images are read once, however many data sets are cut from them."""

    def __init__(self, source: Source) -> None:
        self.name = source.name
        self._source = source

    def load(self) -> SourceData:
        return self._raw

    def digest(self) -> str:
        return self._source.digest()

    @cached_property
    def _raw(self) -> SourceData:
        return self._source.load()
