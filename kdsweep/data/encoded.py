"""Encoded images (JPEG, PNG, ...) and how they become pixels, all of one form."""

import os
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

Item = TypeVar("Item")
Found = TypeVar("Found")
Size = tuple[int, int]  # (H, W)

GREY_MODES = ("1", "L", "LA", "La", "F")  # and "I" of any depth


class Encoded(Protocol):
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

    def take(self, index: Tensor) -> "Encoded":
        """The images at ``index``, still encoded."""


class Form(NamedTuple):
    """What every decoded image looks like."""

    channels: int  # 1 or 3
    height: int
    width: int
    crop: bool = False  # cut to the proportions round the middle, instead of stretched to them


class Header(NamedTuple):
    """What an image tells without being decoded."""

    size: Size
    grey: bool


class Unreadable(ValueError):
    """An image that cannot be read; the sentence names it."""

    def __init__(self, name: str, error: Exception) -> None:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        self.cause = reason if name in reason else f"{name}: {reason}"
        super().__init__(
            "dataset.source must give readable images (dataset.source.skip_unreadable=true leaves "
            f"others out), got {self.cause}"
        )


def decode(images: Encoded, row: int, form: Form) -> NDArray[np.uint8]:
    """The image as (channels, H, W), resized if it has another size; alpha is dropped.

    Raises:
        Unreadable: it is no image, or a damaged one.
    """
    try:
        with Image.open(images.open(row)) as file:
            image = _convert(file, "L" if form.channels == 1 else "RGB")
    except Exception as error:  # Pillow passes on whatever a format's parser raises
        raise Unreadable(images.name(row), error) from error
    size = form.width, form.height
    if image.size != size:
        bilinear = Image.Resampling.BILINEAR
        image = ImageOps.fit(image, size, bilinear) if form.crop else image.resize(size, bilinear)
    pixels = np.asarray(image)
    return pixels[None] if form.channels == 1 else pixels.transpose(2, 0, 1)


def read_header(images: Encoded, row: int) -> Header:
    """Size and colour of an image, without decoding it. Raises Unreadable."""
    try:
        with Image.open(images.open(row)) as file:
            grey = file.mode in GREY_MODES or file.mode.startswith("I")
            return Header((file.height, file.width), grey)
    except Exception as error:  # as above
        raise Unreadable(images.name(row), error) from error


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


def decode_all(images: Encoded, form: Form) -> tuple[Tensor, list[Unreadable | None]]:
    """All images in memory, as uint8 (N, channels, H, W), and for each why it cannot be read.

    The pixels of an unreadable image are black; for a readable one there is a None.
    """
    decoded = torch.zeros(len(images), form.channels, form.height, form.width, dtype=torch.uint8)
    pixels = decoded.numpy()

    def read(row: int) -> None:
        pixels[row] = decode(images, row, form)

    return decoded, attempt_all(read, range(len(images)))


def _convert(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits a pixel, which convert() would cut off at 255
        deep = np.asarray(image).clip(0, 65535)
        image = Image.fromarray((deep >> 8).astype(np.uint8))
    return image.convert(mode)
