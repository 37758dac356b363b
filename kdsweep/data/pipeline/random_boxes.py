"""Random boxes of images: random resized crop and random erasing.

Shapes: n images in total, B of (channels, H, W) in a batch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kdsweep.common.validation import check_fraction, is_finite_number, require
from kdsweep.data.pipeline.resampling import Size, resized

TRIES = 10  # of a box until one fits


@dataclass(frozen=True)
class RandomResizedCrop:
    """A box of random area and proportions, resized to the size of the training images.

    Equals torchvision's ``RandomResizedCrop`` for the same boxes, with antialiasing. ``scale``: the
    area of the box, as a part of that of the image. ``ratio``: its width / height.

    Raises ValueError unless both are two numbers in ascending order, ``scale`` in (0, 1].
    """

    size: Size
    scale: Sequence[float] = (0.08, 1.0)
    ratio: Sequence[float] = (3 / 4, 4 / 3)
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        is_share = _is_range(self.scale) and self.scale[1] <= 1
        require(is_share, "dataset.augment.scale", "two ascending numbers in (0, 1]", self.scale)
        is_ratio = _is_range(self.ratio)
        require(is_ratio, "dataset.augment.ratio", "two ascending numbers > 0", self.ratio)

    def draw(self, n: int, image: Size, generator: torch.Generator) -> Tensor:
        """Boxes for n images of (H, W): (n, 4) int64, top, left, height and width, on the CPU.

        Where none of ten fits, that of the whole image, cut to the proportions that are allowed.
        """
        boxes, fits = _draw(n, image, self.scale, self.ratio, generator)
        return torch.where(fits[:, None], boxes, torch.tensor(self._central(image)))

    def apply(self, images: Tensor, boxes: Tensor) -> Tensor:
        """The boxes (B, 4), on the CPU, of uint8 images: uint8 (B, channels, *size).

        Image by image: no kernel of torch resizes boxes of different sizes at once with
        antialiasing, and torchvision's for one of uint8 is faster than matrix products for all.
        """
        made = images.new_empty(*images.shape[:2], *self.size)
        for place, (top, left, height, width) in enumerate(boxes.tolist()):
            box = images[place, :, top : top + height, left : left + width]
            made[place] = resized(box, self.size, self.interpolation)
        return made

    def _central(self, image: Size) -> tuple[int, int, int, int]:
        height, width = image
        low, high = self.ratio
        if width / height < low:
            height = max(1, round(width / low))
        elif width / height > high:
            width = max(1, round(height * high))
        return (image[0] - height) // 2, (image[1] - width) // 2, height, width


@dataclass(frozen=True)
class RandomErasing:
    """A box of random area and proportions gets the mean colour, which is 0 once normalised.

    Zhong et al. 2017, arXiv 1708.04896. Equals torchvision's ``RandomErasing(p)`` for the same
    boxes, with its ranges: 2 to 33 % of the area, width / height from 10 / 33 to 10 / 3.

    Raises ValueError unless ``p``, the share of the images, is in [0, 1].
    """

    p: float = 0.0
    scale: tuple[float, float] = (0.02, 0.33)
    ratio: tuple[float, float] = (0.3, 3.3)

    def __post_init__(self) -> None:
        check_fraction("dataset.augment.random_erasing", self.p)

    def draw(self, n: int, image: Size, generator: torch.Generator) -> Tensor:
        """Boxes for n images of (H, W): (n, 4) int64, as above; of no height where none is."""
        is_erased = torch.rand(n, generator=generator) < self.p
        # It must be smaller than the image in both directions.
        within = image[0] - 1, image[1] - 1
        boxes, fits = _draw(n, image, self.scale, self.ratio, generator, within)
        return boxes * (is_erased & fits)[:, None]

    def apply(self, images: Tensor, boxes: Tensor, colour: Tensor) -> Tensor:
        """uint8 images with the boxes (B, 4) in a colour (channels, 1, 1), all on one device."""
        top, left, height, width = (side.view(-1, 1) for side in boxes.T)
        row, column = (torch.arange(side, device=boxes.device) for side in images.shape[2:])
        rows = (row >= top) & (row < top + height)
        columns = (column >= left) & (column < left + width)
        inside = rows.unsqueeze(2) & columns.unsqueeze(1)
        return torch.where(inside.unsqueeze(1), colour, images)


def _draw(
    n: int,
    image: Size,
    scale: Sequence[float],
    ratio: Sequence[float],
    generator: torch.Generator,
    within: Size | None = None,
) -> tuple[Tensor, Tensor]:
    """Boxes (n, 4), and whether one of ten tries fits: (n,) bool.

    Area and logarithm of the proportions are uniform, and so is the place of a box that fits.
    """
    (height, width), (most_height, most_width) = image, within or image

    def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator, dtype=torch.float64)

    area = height * width * uniform(n, TRIES, low=scale[0], high=scale[1])
    proportions = uniform(n, TRIES, low=math.log(ratio[0]), high=math.log(ratio[1])).exp()
    heights, widths = (area / proportions).sqrt().round(), (area * proportions).sqrt().round()
    fits = (heights > 0) & (heights <= most_height) & (widths > 0) & (widths <= most_width)
    first = fits.byte().argmax(1, keepdim=True)  # of several equal ones, the first
    box_height, box_width = (sides.gather(1, first).squeeze(1) for sides in (heights, widths))
    top = (uniform(n) * (height - box_height + 1)).floor()
    left = (uniform(n) * (width - box_width + 1)).floor()
    return torch.stack((top, left, box_height, box_width), 1).long(), fits.any(1)


def _is_range(values: Any) -> bool:
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) != 2:
        return False
    return all(map(is_finite_number, values)) and 0 < values[0] <= values[1]
