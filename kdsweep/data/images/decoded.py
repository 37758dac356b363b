"""Encoded images decoded into memory, by this command or by an earlier one."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdsweep.data.images.encoded import (
    EncodedImages,
    ImageFormat,
    UnreadableImage,
    attempt_all,
    decode,
)
from kdsweep.data.images.kept import Bytes, KeptImages
from kdsweep.data.images.pixels import Brightness
from kdsweep.data.types import DataError

Status = Brightness | UnreadableImage | None  # of ``Decoded``, or why there are no pixels

NAME = "\0"  # stands for the name of an image, which differs between machines


def load_decoded(
    part: str, images: EncodedImages, image_format: ImageFormat, kept: KeptImages
) -> tuple[Tensor, list[Status]]:
    """`decode_all` of the images of a part; not decoded if an earlier command has done it."""
    shape = (len(images), *image_format[:3])
    size = int(np.prod(shape))
    form = ("pixels", part, *image_format)
    content = kept.read(*form)
    known = None if content is None else unpacked(content[size:], images)
    if content is not None and known is not None:
        return torch.from_numpy(np.array(content[:size]).reshape(shape)), known
    decoded, status = decode_all(images, image_format)
    if are_lasting(status):
        kept.keep([decoded.numpy().reshape(-1), packed(status, images)], *form)
    return decoded, status


def decode_all(images: EncodedImages, image_format: ImageFormat) -> tuple[Tensor, list[Status]]:
    """All images as uint8 (N, channels, H, W), and the brightness in ``Decoded`` of each.

    An unreadable image has black pixels, and its exception in the list.
    """
    decoded = torch.zeros(len(images), *image_format[:3], dtype=torch.uint8)
    pixels = decoded.numpy()

    def read(row: int) -> Brightness | None:
        pixels[row], brightness, _ = decode(images, row, image_format)
        return brightness

    return decoded, attempt_all(read, range(len(images)), "decoding images")


def are_lasting(status: Sequence[Status]) -> bool:
    """Whether equal files would give the same again: no error is one of the disk or of memory."""
    causes = [one.__cause__ for one in status if isinstance(one, UnreadableImage)]
    return not any(
        isinstance(cause, MemoryError) or getattr(cause, "errno", None) is not None
        for cause in causes
    )


def packed(status: Sequence[Status], images: EncodedImages) -> Bytes:
    """What is known of the images, as bytes to keep."""

    def rows() -> Iterator[list[Any]]:
        for row, one in enumerate(status):
            if isinstance(one, UnreadableImage):
                yield [row, one.cause.replace(images.name(row), NAME)]
            elif one is not None:
                yield [row, *one]

    return np.frombuffer(json.dumps([*rows()]).encode(), np.uint8)


def unpacked(content: Bytes, images: EncodedImages) -> list[Status] | None:
    """The status of each image; None if the bytes are damaged."""
    status: list[Status] = [None] * len(images)
    try:
        for row, *values in json.loads(content.tobytes()):
            if len(values) == 1:
                name = images.name(row)
                status[row] = UnreadableImage(name, DataError(values[0].replace(NAME, name)))
            else:
                status[row] = Brightness(*values)
    except (ValueError, TypeError, IndexError, AttributeError):
        return None
    return status
