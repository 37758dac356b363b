"""Random crop and horizontal flip of a whole batch at once, with parameters drawn for each image.

Shapes: n images in total, B of (channels, H, W) in a batch.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from kdsweep.common.validation import check_bool, is_integer, require_integer


class AugmentParams(NamedTuple):
    """The random parameters of the augmentation, one entry per image."""

    top: Tensor  # (n,) int64, row of the padded image where the crop begins, in [0, 2 * padding]
    left: Tensor  # (n,) int64, its column, in [0, 2 * padding]
    flip: Tensor  # (n,) bool

    def to(self, device: torch.device | str) -> "AugmentParams":
        return AugmentParams(*(values.to(device, non_blocking=True) for values in self))

    def split(self, batch_size: int) -> list["AugmentParams"]:
        """The parameters of each batch."""
        return [
            AugmentParams(*drawn)
            for drawn in zip(*(d.split(batch_size) for d in self), strict=True)
        ]


@dataclass(frozen=True)
class Augment:
    """Pad with black, crop back to the original size at a random place, flip half of the images.

    Equals torchvision's ``RandomCrop(size, padding)`` and ``RandomHorizontalFlip()`` for the same
    random parameters.
    """

    crop_padding: int = 0  # pixels on each side; 0 crops nothing
    flip: bool = False

    def __post_init__(self) -> None:
        is_whole = is_integer(self.crop_padding) and self.crop_padding >= 0
        key = "dataset.augment.crop_padding"
        require_integer(is_whole, key, "a whole number >= 0", self.crop_padding)
        check_bool("dataset.augment.flip", self.flip)

    def draw(self, n: int, generator: torch.Generator) -> AugmentParams:
        """Draw parameters for n images, on the CPU."""
        offsets = 2 * self.crop_padding + 1
        top = torch.randint(offsets, (n,), generator=generator)
        left = torch.randint(offsets, (n,), generator=generator)
        flip = torch.randint(2, (n,), generator=generator).bool()
        return AugmentParams(top, left, flip if self.flip else torch.zeros_like(flip))

    def apply(self, images: Tensor, params: AugmentParams) -> Tensor:
        """Augmented uint8 (B, channels, H, W); ``params`` hold B entries on the images' device."""
        if self.crop_padding:
            images = _crop(images, self.crop_padding, params)
        if self.flip:
            # Copying whole images from both versions is five times as fast as torch.where.
            both = torch.cat((images, images.flip(-1)))
            image = torch.arange(len(images), device=images.device)
            images = both.index_select(0, image + params.flip * len(images))
        return images


def _crop(images: Tensor, padding: int, params: AugmentParams) -> Tensor:
    batch, channels, height, width = images.shape
    padded = F.pad(images, (padding,) * 4).contiguous()
    per_image, per_channel, per_row, _ = padded.stride()
    # Every position where a crop can begin, as one overlapping view: copying whole crops from it is
    # six times as fast as indexing by image, row and column (0.04 against 0.26 ms for 128 images).
    last = padded.numel() - (channels - 1) * per_channel - (height - 1) * per_row - (width - 1)
    crops = padded.as_strided((last, channels, height, width), (1, per_channel, per_row, 1))
    image = torch.arange(batch, device=images.device)
    return crops.index_select(0, image * per_image + params.top * per_row + params.left)
