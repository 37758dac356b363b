"""The view of an image in evaluation: resized, then cropped around its centre.

Shapes: B images of (channels, H, W).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from kdsweep.common.validation import check_option, is_number, require
from kdsweep.data.pipeline.resampling import Size, resized
from kdsweep.data.types import INTERPOLATIONS

LEAST = 0.1  # images are resized to ten times the size at most


@dataclass(frozen=True)
class CentralView:
    """Resize the shorter side to ``size / crop_pct``, then crop ``size`` around the centre.

    As timm does with ``crop_pct``, ``interpolation`` and its crop mode ``center``. Where the images
    have that size already, nothing is resized.

    Raises ValueError unless ``crop_pct`` is in [0.1, 1], and the interpolation bilinear or bicubic.
    """

    size: Size
    crop_pct: float = 0.875
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        is_valid = is_number(self.crop_pct) and LEAST <= self.crop_pct <= 1
        require(is_valid, "dataset.crop_pct", f"in [{LEAST}, 1]", self.crop_pct)
        check_option("dataset.interpolation", self.interpolation, INTERPOLATIONS)

    def __call__(self, images: Tensor) -> Tensor:
        """The views of uint8 images: uint8 (B, channels, *size)."""
        whole = self._before_crop(images.shape[-2:])
        if whole != tuple(images.shape[-2:]):
            images = resized(images, whole, self.interpolation)
        top, left = (round((have - need) / 2) for have, need in zip(whole, self.size, strict=True))
        return images[..., top : top + self.size[0], left : left + self.size[1]]

    def _before_crop(self, image: Sequence[int]) -> Size:
        """(H, W) with the image's proportions, of which one is as short as it may be."""
        height, width = (math.floor(side / self.crop_pct) for side in self.size)
        if height / image[0] >= width / image[1]:
            return height, max(int(height * image[1] / image[0]), self.size[1])
        return max(int(width * image[0] / image[1]), self.size[0]), width
