"""Images of another size, by torchvision's functional operations, with antialiasing."""

from functools import cache
from typing import Any

from torch import Tensor

Size = tuple[int, int]  # (H, W)


def resized(images: Tensor, size: Size, interpolation: str) -> Tensor:
    """uint8 images (..., channels, H, W) -> the same of another (H, W)."""
    made: Tensor = _functional().resize(images, list(size), interpolation)
    return made


@cache
def _functional() -> Any:
    from torchvision.transforms.v2 import functional  # takes two seconds to import

    return functional
