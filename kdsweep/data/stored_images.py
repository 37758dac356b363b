"""Images that stay on disk and are decoded batch by batch.

Shapes: N images of (channels, H, W), B images in a batch.
"""

import warnings
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils import data

from kdsweep.data.encoded import Encoded, Form, Unreadable, decode


class StoredImages:
    """Images that are decoded whenever a batch asks for them.

    Args:
        images: N encoded images.
        form: what they are made to look like.
        workers: processes that read ahead; 0 reads in this one. The pixels are the same.
    """

    def __init__(self, images: Encoded, form: Form, workers: int) -> None:
        self._images = images
        self._form = form
        self._workers = workers

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, channels, H, W)."""
        return (len(self), self._form.channels, self._form.height, self._form.width)

    def __len__(self) -> int:
        """N."""
        return len(self._images)

    def __getitem__(self, index: Tensor) -> Tensor:
        """Decode the images at ``index`` (B,) to uint8 (B, channels, H, W). Raises Unreadable."""
        pixels = torch.empty(len(index), *self.shape[1:], dtype=torch.uint8)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as in attempt_all
            for place, row in enumerate(index.tolist()):
                pixels.numpy()[place] = decode(self._images, row, self._form).pixels
        return pixels

    def take(self, index: Tensor) -> "StoredImages":
        """The images at ``index``, still on disk."""
        return StoredImages(self._images.take(index), self._form, self._workers)

    def read(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        """For each index (B,) in ``batches`` its pixels, in order. ValueError if unreadable."""
        if self._workers == 0:
            yield from (self[index] for index in batches)
            return
        for found in _read_ahead(_Batches(self, batches), min(self._workers, len(batches))):
            if isinstance(found, str):
                raise ValueError(found)
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
            return self._images[self._batches[number]]
        except Unreadable as error:
            return str(error)  # raised here it would reach the user wrapped in two tracebacks


def _read_ahead(batches: _Batches, workers: int) -> Iterator[Tensor | str]:
    with warnings.catch_warnings():
        # The user chose the number of workers; forking beside threads is how torch starts them.
        warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
        warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)
        loader = data.DataLoader(
            batches,
            batch_size=None,  # an item is a batch already
            num_workers=workers,
            generator=torch.Generator(),  # else each epoch would draw from the global one
        )
        started = iter(loader)
    yield from started
