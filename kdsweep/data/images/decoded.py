"""Encoded images decoded into memory."""

import torch
from torch import Tensor

from kdsweep.data.images.encoded import (
    EncodedImages,
    ImageFormat,
    UnreadableImage,
    attempt_all,
    decode,
)
from kdsweep.data.images.pixels import Brightness

Status = Brightness | UnreadableImage | None  # of ``Decoded``, or why there are no pixels


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
