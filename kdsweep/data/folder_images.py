"""Images of a folder: decoding them, all at once into memory or batch by batch from disk.

Shapes: N images of (3, H, W), B images in a batch.
"""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils import data

Item = TypeVar("Item")
Found = TypeVar("Found")
Size = tuple[int, int]  # (H, W)


class Unreadable(ValueError):
    """An image file that cannot be read; the sentence names it."""

    def __init__(self, path: Path, error: Exception) -> None:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        self.cause = reason if str(path) in reason else f"{path}: {reason}"
        super().__init__(
            "dataset.root must hold readable images (dataset.source.skip_unreadable=true leaves "
            f"others out), got {self.cause}"
        )


def decode(path: Path, size: Size) -> NDArray[np.uint8]:
    """The image as (3, H, W), resized if it has another size; alpha is dropped.

    Raises:
        Unreadable: it is no image, or a damaged one.
    """
    height, width = size
    try:
        with Image.open(path) as file:
            image = _rgb(file)
    except Exception as error:  # Pillow passes on whatever a format's parser raises
        raise Unreadable(path, error) from error
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image).transpose(2, 0, 1)


def read_size(path: Path) -> Size:
    """(H, W) from the file's header, without decoding it. Raises Unreadable."""
    try:
        with Image.open(path) as file:
            return file.height, file.width
    except Exception as error:  # as above
        raise Unreadable(path, error) from error


def attempt_all(read: Callable[[Item], Found], items: Sequence[Item]) -> list[Found | Unreadable]:
    """What ``read`` finds for each item, in order, or why it cannot; read in threads."""

    def attempt(item: Item) -> Found | Unreadable:
        try:
            return read(item)
        except Unreadable as error:
            return error

    # Pillow warns of odd but harmless things (transparency of a palette, very large images).
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        warnings.simplefilter("ignore")
        return list(pool.map(attempt, items))


def decode_all(paths: Sequence[Path], size: Size) -> tuple[Tensor, list[Unreadable | None]]:
    """All images in memory, as uint8 (N, 3, H, W), and for each why it cannot be read, or None.

    The pixels of an unreadable image are black.
    """
    images = torch.zeros(len(paths), 3, *size, dtype=torch.uint8)
    pixels = images.numpy()

    def read(row: int) -> None:
        pixels[row] = decode(paths[row], size)

    return images, attempt_all(read, range(len(paths)))


class FolderImages:
    """Images that stay on disk and are decoded whenever a batch asks for them.

    Args:
        paths: N image files.
        size: (H, W) they are resized to.
        workers: processes that read ahead; 0 reads in this one. The pixels are the same.
    """

    def __init__(self, paths: Sequence[Path], size: Size, workers: int) -> None:
        # One flat array instead of N objects: workers share it without ever copying it.
        self._paths = np.array([os.fsencode(path) for path in paths])
        self._size = size
        self._workers = workers

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, 3, H, W)."""
        return (len(self), 3, *self._size)

    def __len__(self) -> int:
        """N."""
        return len(self._paths)

    def __getitem__(self, index: Tensor) -> Tensor:
        """Decode the images at ``index`` (B,) to uint8 (B, 3, H, W). Raises Unreadable."""
        pixels = torch.empty(len(index), 3, *self._size, dtype=torch.uint8)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as in attempt_all
            for row, position in enumerate(index.tolist()):
                path = Path(os.fsdecode(self._paths[position]))
                pixels.numpy()[row] = decode(path, self._size)
        return pixels

    def take(self, index: Tensor) -> "FolderImages":
        """The images at ``index``, still on disk."""
        chosen = FolderImages([], self._size, self._workers)
        chosen._paths = self._paths[index.numpy()]
        return chosen

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

    def __init__(self, images: FolderImages, batches: Sequence[Tensor]) -> None:
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


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits a pixel, which convert() would cut off at 255
        deep = np.asarray(image).clip(0, 65535)
        image = Image.fromarray((deep >> 8).astype(np.uint8))
    return image.convert("RGB")
