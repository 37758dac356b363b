"""A second, strongly augmented view of each training image: crop and flip, RandAugment, cutout.

The operations, their ranges and the cutout are those of FixMatch (Sohn et al. 2020, arXiv
2001.07685) as in Jin-Ying/Multi-Level-Logit-Distillation, mdistiller/dataset/cifar100.py: each
operation and its strength are drawn anew for every image. torchvision's RandAugment has others, of
one fixed strength.

Shapes: n images in total, B of (channels, H, W) in a batch, R operations on an image.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from kdsweep.common.validation import check_whole
from kdsweep.data.pipeline.augment import Augment, AugmentParams
from kdsweep.data.pipeline.image_operations import OPERATIONS, cut_out

LARGEST_CUTOUT = 0.5  # of the image's width


class StrongParams(NamedTuple):
    """The random parameters of strong views, one entry per image."""

    crop: AugmentParams
    operation: Tensor  # (n, R) int64, position in OPERATIONS; on the CPU
    strength: Tensor  # (n, R) float64 in [0, 1), place in the operation's range
    cutout: Tensor  # (n, 3) float64 in [0, 1): size, column and row

    def to(self, device: torch.device | str) -> "StrongParams":
        strength, cutout = (
            values.to(device, non_blocking=True) for values in (self.strength, self.cutout)
        )
        return StrongParams(self.crop.to(device), self.operation, strength, cutout)

    def split(self, batch_size: int) -> list["StrongParams"]:
        """The parameters of each batch."""
        parts = (part.split(batch_size) for part in self)
        return [StrongParams(*drawn) for drawn in zip(*parts, strict=True)]


@dataclass(frozen=True)
class StrongView:
    """``augment`` with draws of its own, ``operations`` of RandAugment one after the other, cutout.

    0 operations turn it off. Raises ValueError unless they are a whole number >= 0.
    """

    augment: Augment
    operations: int = 0

    def __post_init__(self) -> None:
        check_whole("dataset.augment.strong_view", self.operations, least=0)

    def __bool__(self) -> bool:
        return self.operations > 0

    def draw(self, n: int, generator: torch.Generator) -> StrongParams:
        """Draw parameters for n images, on the CPU."""

        def uniform(columns: int) -> Tensor:
            return torch.rand(n, columns, generator=generator, dtype=torch.float64)

        crop = self.augment.draw(n, generator)
        operation = torch.randint(len(OPERATIONS), (n, self.operations), generator=generator)
        return StrongParams(crop, operation, uniform(self.operations), uniform(3))

    def apply(self, images: Tensor, params: StrongParams) -> Tensor:
        """Strong views, uint8 (B, channels, H, W), of original images on the parameters' device."""
        images = self.augment.apply(images, params.crop)
        for operation, strength in zip(params.operation.T, params.strength.T, strict=True):
            images = _operate(images, operation, strength)
        height, width = images.shape[-2:]
        size, column, row = params.cutout.T
        # A centre between 1 and the width: what the authors' np.random.uniform(width) draws.
        column, row = width - (width - 1) * column, height - (height - 1) * row
        return cut_out(images, size * (LARGEST_CUTOUT * width), column, row)


def _operate(images: Tensor, operation: Tensor, strength: Tensor) -> Tensor:
    """Each image after its operation; ``operation`` (B,) on the CPU, ``strength`` (B,)."""
    # Images of one operation are adjacent, and their numbers known without waiting for the device.
    by_operation = operation.argsort(stable=True)
    counts = operation.bincount(minlength=len(OPERATIONS)).tolist()
    order = by_operation.to(images.device, non_blocking=True)
    back = by_operation.argsort().to(images.device, non_blocking=True)
    groups = images.index_select(0, order).split(counts)
    strengths = strength.index_select(0, order).split(counts)
    done = [
        apply(group, low + (high - low) * values)
        for (apply, low, high), group, values in zip(OPERATIONS, groups, strengths, strict=True)
        if len(group)
    ]
    return torch.cat(done).index_select(0, back)
