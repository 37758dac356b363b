"""Images as callers have them (paths, bytes, Pillow, NumPy, tensors), opened with Pillow.

Shapes: images of H x W pixels, B in a batch.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from kdsweep.common.text import error_reason, escape_unprintable
from kdsweep.data.images.encoded import regular
from kdsweep.data.images.formats import image_formats
from kdsweep.data.types import DataError

ImageLike: TypeAlias = (
    str | PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Image.Image
    | NDArray[Any] | Tensor
)  # fmt: skip
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # by the number of channels
WHITE_OF_16_BITS = 65535


class ImageError(DataError):
    """An object that was given as an image is not one, or is damaged.

    ``name``: its path, or its type; ``reason``: why it cannot be read.
    """

    def __init__(self, name: str, error: Exception) -> None:
        self.name = name
        self.reason = escape_unprintable(_reason(error))
        super().__init__(f"images must be readable, got {self.name}: {self.reason}")


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "it is not an image of a supported format, or it is damaged"
    return (isinstance(error, OSError) and error.strerror) or error_reason(error)


def as_list(images: Any) -> list[ImageLike]:
    """The single images of one image, a batch or a sequence of images.

    A batch is an array (B, H, W, channels) or a tensor (B, channels, H, W).
    """
    if isinstance(images, np.ndarray | Tensor):
        return list(images) if images.ndim == 4 else [images]
    if isinstance(images, str | PathLike | bytes | bytearray | memoryview | Image.Image):
        return [cast(ImageLike, images)]
    if hasattr(images, "read"):
        return [images]
    return list(images)


def name_of(image: ImageLike) -> str:
    """The name of an image in messages: its path, or its type."""
    if isinstance(image, str | PathLike):
        return escape_unprintable(str(image))
    if isinstance(image, np.ndarray | Tensor):
        return f"{type(image).__name__} {tuple(image.shape)} of {image.dtype}"
    name = getattr(image, "filename", None) or getattr(image, "name", None)
    return escape_unprintable(str(name)) if name else type(image).__name__


@contextmanager
def opened(image: ImageLike) -> Iterator[Image.Image]:
    """The image opened with Pillow, as data sets do. Raises ImageError for any failure."""
    try:
        if isinstance(image, Image.Image):
            yield image
        elif isinstance(image, np.ndarray):
            yield from_array(image)
        elif isinstance(image, Tensor):
            yield from_array(_channels_last(image))
        else:
            with Image.open(_file(image), formats=image_formats()) as file:
                yield file
    except Exception as error:  # Pillow passes on any error of a format's parser
        raise ImageError(name_of(image), error) from error


def _file(image: Any) -> Path | BinaryIO:
    if isinstance(image, str | PathLike):
        return regular(Path(image))
    if isinstance(image, bytes | bytearray | memoryview):
        return BytesIO(image)
    if hasattr(image, "read"):
        return cast(BinaryIO, image)
    raise TypeError(
        "an image must be a path, bytes, an open file, a Pillow image, a NumPy array or a tensor,"
        f" got {type(image).__name__}"
    )


def _channels_last(image: Tensor) -> NDArray[Any]:
    """A tensor (channels, H, W) or (H, W) as an array (H, W, channels) or (H, W)."""
    if image.ndim == 3 and image.shape[0] not in MODES:
        raise ValueError(f"a tensor must be (channels, H, W), got {tuple(image.shape)}")
    image = image.detach().cpu()
    if image.is_floating_point():
        image = image.float()  # NumPy has no bfloat16
    array: NDArray[Any] = (image.permute(1, 2, 0) if image.ndim == 3 else image).numpy()
    return array


def from_array(array: NDArray[Any]) -> Image.Image:
    """An image of an array (H, W) or (H, W, channels), with 1, 2, 3 or 4 channels.

    Integers are 0 to 255; uint16 is 0 to 65535; floating-point numbers in [0, 1] and booleans are
    rounded to 8 bits. Raises ValueError for other shapes and values.
    """
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in MODES or 0 in array.shape:
        raise ValueError(
            "an array must be (H, W) or (H, W, channels) with 1 to 4 channels, got"
            f" {tuple(array.shape)}"
        )
    if array.dtype == np.uint16 and array.shape[2] == 1:
        return Image.fromarray(np.ascontiguousarray(array[:, :, 0]))  # I;16
    pixels = np.ascontiguousarray(_eight_bits(array))
    channels = pixels.shape[2]
    return Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels, MODES[channels])


def _eight_bits(array: NDArray[Any]) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        return (array >> 8).astype(np.uint8)  # as Pillow reads colour of 16 bits a channel
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * 255
    is_float = np.issubdtype(array.dtype, np.floating)
    if not is_float and not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"an array must hold numbers, got {array.dtype}")
    low, high, white = array.min(), array.max(), 1 if is_float else 255
    if not (low >= 0 and high <= white):  # NaN is neither
        allowed = "floating-point values must be in [0, 1]" if is_float else "0 to 255 is allowed"
        raise ValueError(f"{allowed}, got {low:g} to {high:g}")
    scaled = array.astype(np.float64) * 255 if is_float else array
    return np.rint(scaled).astype(np.uint8)


def names_of_files(images: Sequence[ImageLike]) -> list[str | None]:
    """The path of each image that is given by one."""
    return [str(image) if isinstance(image, str | PathLike) else None for image in images]
