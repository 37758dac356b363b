"""Encoded images (JPEG, PNG, ...) and how they become pixels, all of one image_format."""

import hashlib
import os
import stat
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from kdsweep.common.text import escape_unprintable
from kdsweep.data.images.formats import image_formats
from kdsweep.data.images.pixels import Brightness, is_deep, is_grey, to_eight_bits, upright_size
from kdsweep.data.types import DataError

Item = TypeVar("Item")
Found = TypeVar("Found")
Size = tuple[int, int]  # (H, W)


class EncodedImages(Protocol):
    """N encoded images, wherever they lie: files of a folder, rows of a table."""

    def __len__(self) -> int:
        """N."""

    def open(self, row: int) -> Path | BinaryIO:
        """What Pillow reads the image from."""

    def name(self, row: int) -> str:
        """What a person finds the image by."""

    def key(self, row: int) -> str:
        """What names the image on every machine; empty where only its place in the order does."""

    def num_bytes(self) -> list[int]:
        """The encoded size of each image."""

    def subset(self, index: Tensor) -> "EncodedImages":
        """The images at ``index``, still encoded."""


class ImageFormat(NamedTuple):
    """What every decoded image looks like."""

    channels: int  # 1 or 3
    height: int
    width: int
    crop: bool = False  # cut to the proportions round the middle, instead of stretched to them
    white: float | None = None  # the value that becomes 255 (``to_eight_bits``)


class Header(NamedTuple):
    """What an image shows without being decoded."""

    size: Size
    grey: bool


class Decoded(NamedTuple):
    """Pixels, and the brightness of an image of more than 8 bits a channel (``Converted``)."""

    pixels: NDArray[np.uint8]  # (channels, H, W)
    brightness: Brightness | None


class UnreadableImage(DataError):
    """An image that cannot be read; the sentence names it."""

    def __init__(self, name: str, error: Exception) -> None:
        reason = escape_unprintable((str(error) or type(error).__name__).splitlines()[0])
        self.cause = reason if name in reason else f"{name}: {reason}"
        super().__init__(
            "dataset.source must give readable images (dataset.source.skip_unreadable=true leaves "
            f"others out), got {self.cause}"
        )


def regular(path: Path) -> Path:
    """The path, if it is of a regular file: a pipe never ends, nor does /dev/zero.

    Raises:
        OSError: it is something else, or nothing.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(f"not a regular file: {path}")
    return path


def content_sha256(images: EncodedImages, row: int) -> str:
    """sha256 of an encoded image, in hex. OSError if it cannot be read."""
    image = images.open(row)
    content = image.read_bytes() if isinstance(image, Path) else image.read()
    return hashlib.sha256(content).hexdigest()


def decode(images: EncodedImages, row: int, image_format: ImageFormat) -> Decoded:
    """The image as (channels, H, W), upright, resized if it has another size; alpha is dropped.

    Raises:
        Unreadable: it is no image, a damaged one, or one whose values no rule scales to 8 bits.
    """
    try:
        with Image.open(images.open(row), formats=image_formats()) as file:
            mode = "L" if image_format.channels == 1 else "RGB"
            image, brightness = to_eight_bits(file, mode, image_format.white)
    except Exception as error:  # Pillow passes on whatever a format's parser raises
        raise UnreadableImage(images.name(row), error) from error
    size = image_format.width, image_format.height
    if image.size != size:
        bilinear = Image.Resampling.BILINEAR
        image = (
            ImageOps.fit(image, size, bilinear)
            if image_format.crop
            else image.resize(size, bilinear)
        )
    pixels = np.asarray(image)
    return Decoded(
        pixels[None] if image_format.channels == 1 else pixels.transpose(2, 0, 1), brightness
    )


def read_header(images: EncodedImages, row: int) -> Header:
    """Size and colour of an image, without decoding it. Raises Unreadable."""
    try:
        with Image.open(images.open(row), formats=image_formats()) as file:
            grey = is_grey(file)  # first: to look for EXIF, Pillow decodes a PNG file
            return Header(upright_size(file), grey)
    except Exception as error:  # as above
        raise UnreadableImage(images.name(row), error) from error


def has_deep_pixels(images: EncodedImages, row: int) -> bool:
    """Whether an image has more than 8 bits a channel, without decoding it. Raises Unreadable."""
    try:
        with Image.open(images.open(row), formats=image_formats()) as file:
            return is_deep(file)
    except Exception as error:  # as above
        raise UnreadableImage(images.name(row), error) from error


def attempt_all(
    read: Callable[[Item], Found], items: Sequence[Item]
) -> list[Found | UnreadableImage]:
    """What ``read`` finds for each item, in order, or why it cannot; read in threads."""

    def attempt(item: Item) -> Found | UnreadableImage:
        try:
            return read(item)
        except UnreadableImage as error:
            return error

    # Pillow warns of odd but harmless things (transparency of a palette, very large images).
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        warnings.simplefilter("ignore")
        return list(pool.map(attempt, items))


def decode_all(
    images: EncodedImages, image_format: ImageFormat
) -> tuple[Tensor, list[Brightness | UnreadableImage | None]]:
    """All images in memory, as uint8 (N, channels, H, W), and ``Decoded``'s facts about each.

    The pixels of an unreadable image are black, and why it cannot be read is in the list.
    """
    decoded = torch.zeros(
        len(images),
        image_format.channels,
        image_format.height,
        image_format.width,
        dtype=torch.uint8,
    )
    pixels = decoded.numpy()

    def read(row: int) -> Brightness | None:
        pixels[row], brightness = decode(images, row, image_format)
        return brightness

    return decoded, attempt_all(read, range(len(images)))
