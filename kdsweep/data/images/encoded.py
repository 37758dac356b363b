"""Encoded images (JPEG, PNG, ...) and their decoding to pixels of one format."""

import hashlib
import os
import stat
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from kdsweep.common.pacing import with_lines
from kdsweep.common.text import error_reason, escape_unprintable
from kdsweep.data.images.formats import image_formats
from kdsweep.data.images.pixels import (
    Brightness,
    is_deep,
    is_grey,
    shrink_jpeg,
    to_eight_bits,
    upright_size,
)
from kdsweep.data.types import DataError

Item = TypeVar("Item")
Result = TypeVar("Result")
Size = tuple[int, int]  # (H, W)

CHUNK_SECONDS = 0.05  # that a thread works for at a time; handing over each image costs 30 us
MOST_IN_CHUNK = 64


class Stamps(NamedTuple):
    """N files, and what changes whenever one of them does."""

    paths: NDArray[np.bytes_]  # (N,), relative to a root
    marks: NDArray[np.int64]  # (N, 3): size, and the times of mtime and ctime in ns


class EncodedImages(Protocol):
    """N encoded images: files of a folder, or rows of a table."""

    def __len__(self) -> int:
        """N."""

    def open(self, row: int) -> Path | BinaryIO:
        """The file that Pillow reads the image from."""

    def name(self, row: int) -> str:
        """The image's path or row, for messages."""

    def key(self, row: int) -> str:
        """Identifies the image on every machine; empty if only its position does."""

    def num_bytes(self) -> list[int]:
        """The encoded size of each image."""

    def stamps(self, *, anew: bool = False) -> Stamps | None:
        """Of the files when they were first looked at, or, ``anew``, of now.

        None if the images are in no files of their own. Raises OSError if a file is missing.
        """

    def table_state(self) -> str | None:
        """Changes whenever the table that holds the images does; None if that is not known."""

    @property
    def root(self) -> Path | None:
        """The folder that the files are in."""

    def subset(self, index: Tensor) -> "EncodedImages":
        """The images at ``index``, still encoded."""


class ImageFormat(NamedTuple):
    """The format of all decoded images."""

    channels: int  # 1 or 3
    height: int
    width: int
    crop: bool = False  # crop around the centre to these proportions, instead of stretching
    white: float | None = None  # the value that becomes 255 (``to_eight_bits``)
    draft: bool = False  # JPEG files are decoded at a fraction of their size (``shrink_jpeg``)
    interpolation: str = "bilinear"  # or bicubic, over all pixels of a larger image


class Header(NamedTuple):
    """What can be read of an image without decoding it."""

    size: Size
    grey: bool


class Decoded(NamedTuple):
    """Pixels, and the brightness of an image of more than 8 bits a channel (``Converted``)."""

    pixels: NDArray[np.uint8]  # (channels, H, W)
    brightness: Brightness | None
    header: Header  # of the image as it was


class UnreadableImage(DataError):
    """An image that cannot be read; the message has its name."""

    def __init__(self, name: str, error: Exception) -> None:
        reason = escape_unprintable(error_reason(error))
        self.cause = reason if name in reason else f"{name}: {reason}"
        super().__init__(
            "dataset.source must give readable images (dataset.source.skip_unreadable=true leaves "
            f"others out), got {self.cause}"
        )


def regular(path: Path) -> Path:
    """The path. Raises OSError unless it is a regular file: a pipe or /dev/zero never ends."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(f"not a regular file: {path}")
    return path


def content_sha256(images: EncodedImages, row: int) -> str:
    """sha256 of an encoded image, in hex. OSError if it cannot be read."""
    image = images.open(row)
    content = image.read_bytes() if isinstance(image, Path) else image.read()
    return hashlib.sha256(content).hexdigest()


@contextmanager
def _opened(images: EncodedImages, row: int) -> Iterator[Image.Image]:
    """An image opened with Pillow, not decoded yet. Whatever fails is an UnreadableImage."""
    try:
        with Image.open(images.open(row), formats=image_formats()) as file:
            yield file
    except Exception as error:  # Pillow passes on whatever a format's parser raises
        raise UnreadableImage(images.name(row), error) from error


def decode(images: EncodedImages, row: int, image_format: ImageFormat) -> Decoded:
    """The image as (channels, H, W), upright, resized if it has another size; alpha is dropped.

    Raises UnreadableImage if it is damaged, no image, or has values that no rule scales to 8 bits.
    """
    with _opened(images, row) as file:
        return decode_opened(file, image_format)


def decode_opened(file: Image.Image, image_format: ImageFormat) -> Decoded:
    """The same of a file that Pillow has opened, or of an image in memory.

    Raises whatever Pillow does, and ValueError for values that no rule scales to 8 bits.
    """
    mode = "L" if image_format.channels == 1 else "RGB"
    grey = is_grey(file)  # first, as in read_header
    full_size = shrink_jpeg(file, image_format[1:3]) if image_format.draft else None
    image, brightness = to_eight_bits(file, mode, image_format.white)
    header = Header(full_size or (image.height, image.width), grey)
    size = image_format.width, image_format.height
    if image.size != size:
        resize = ImageOps.fit if image_format.crop else Image.Image.resize
        image = resize(image, size, Image.Resampling[image_format.interpolation.upper()])
    pixels = np.asarray(image)
    pixels = pixels[None] if mode == "L" else pixels.transpose(2, 0, 1)
    return Decoded(pixels, brightness, header)


def read_header(images: EncodedImages, row: int) -> Header:
    """Size and colour of an image, without decoding it. Raises UnreadableImage."""
    with _opened(images, row) as file:
        grey = is_grey(file)  # first: to look for EXIF, Pillow decodes a PNG file
        return Header(upright_size(file), grey)


def has_deep_pixels(images: EncodedImages, row: int) -> bool:
    """If an image has more than 8 bits a channel, without decoding it. Raises UnreadableImage."""
    with _opened(images, row) as file:
        return is_deep(file)


def attempt_all(
    read: Callable[[Item], Result], items: Sequence[Item], what: str
) -> list[Result | UnreadableImage]:
    """The result of ``read`` for each item, in order, or its exception; read in threads.

    ``what`` is done, for the lines about it.
    """

    def attempt(item: Item) -> Result | UnreadableImage:
        try:
            return read(item)
        except UnreadableImage as error:
            return error

    # Pillow warns of odd but harmless things (transparency of a palette, very large images).
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(in_threads(attempt, items, what))


def in_threads(
    read: Callable[[Item], Result], items: Sequence[Item], what: str
) -> Iterator[Result]:
    """The result of ``read`` for each item, in order; read in threads.

    ``what`` is done, for the lines about it.
    """

    def results() -> Iterator[Result]:
        if not items:
            return
        began = time.perf_counter()
        yield read(items[0])
        most = CHUNK_SECONDS / max(time.perf_counter() - began, 1e-9)
        size = max(1, min(MOST_IN_CHUNK, int(most)))
        chunks = [items[start : start + size] for start in range(1, len(items), size)]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            try:
                for chunk in pool.map(lambda chunk: [*map(read, chunk)], chunks):
                    yield from chunk
            finally:
                pool.shutdown(cancel_futures=True)  # an error or Ctrl-C waits for no other chunk

    yield from with_lines(results(), what, total=len(items))
