"""Random crop and horizontal flip of a whole batch at once, with parameters drawn for each image.

Shapes: n images in total, B of (channels, H, W) in a batch.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from kdsweep.common.validation import check_bool, check_whole, require

PADDING_MODES = ("constant", "reflect")


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

    def rows(self, rows: slice) -> "AugmentParams":
        """Those of some of the images."""
        return AugmentParams(*(values[rows] for values in self))


@dataclass(frozen=True)
class Augment:
    """Pad, crop back to the original size at a random place, flip half of the images.

    Equals torchvision's ``RandomCrop(size, padding, padding_mode=padding_mode)`` and
    ``RandomHorizontalFlip()`` for the same random parameters.
    """

    crop_padding: int = 0  # pixels on each side; 0 crops nothing
    padding_mode: str = "constant"  # black, or the image mirrored at its outermost pixels
    flip: bool = False

    def __post_init__(self) -> None:
        check_whole("dataset.augment.crop_padding", self.crop_padding, least=0)
        known = self.padding_mode in PADDING_MODES
        key = "dataset.augment.padding_mode"
        require(known, key, " or ".join(PADDING_MODES), self.padding_mode)
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
            images = _crop(images, self.crop_padding, self.padding_mode, params)
        if self.flip:
            # Copying whole images from both versions is five times as fast as torch.where.
            both = torch.cat((images, images.flip(-1)))
            image = torch.arange(len(images), device=images.device)
            images = both.index_select(0, image + params.flip * len(images))
        return images


def _crop(images: Tensor, padding: int, mode: str, params: AugmentParams) -> Tensor:
    batch, channels, height, width = images.shape
    reflect = mode == "reflect"
    padded = _mirrored(images, padding) if reflect else F.pad(images, (padding,) * 4)
    padded = padded.contiguous()
    per_image, per_channel, per_row, _ = padded.stride()
    # Every position where a crop can begin, as one overlapping view: copying whole crops from it is
    # six times as fast as indexing by image, row and column (0.04 against 0.26 ms for 128 images).
    last = padded.numel() - (channels - 1) * per_channel - (height - 1) * per_row - (width - 1)
    crops = padded.as_strided((last, channels, height, width), (1, per_channel, per_row, 1))
    image = torch.arange(batch, device=images.device)
    return crops.index_select(0, image * per_image + params.top * per_row + params.left)


def _mirrored(images: Tensor, padding: int) -> Tensor:
    """Images continued by their mirror images, as often as needed, without repeating the edge.

    By index, because PyTorch's padding refuses uint8 and borders wider than the image.
    """
    for dim in (2, 3):
        side = images.shape[dim]
        position = torch.arange(-padding, side + padding, device=images.device)
        period = max(2 * (side - 1), 1)
        position = position.remainder(period)
        images = images.index_select(dim, torch.minimum(position, period - position))
    return images
