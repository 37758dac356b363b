"""A second, strongly augmented view of each training image: crop and flip, RandAugment, cutout.

The operations, their ranges and the cutout are those of FixMatch (Sohn et al. 2020, arXiv
2001.07685) as in Jin-Ying/Multi-Level-Logit-Distillation, mdistiller/dataset/cifar100.py: each
operation and its strength are drawn anew for every image. torchvision's RandAugment has others, of
one fixed strength.

Shapes: n images in total, B of (channels, H, W) in a batch, R operations on an image.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from kdsweep.common.validation import check_whole
from kdsweep.data.pipeline.augment import Augment, AugmentParams
from kdsweep.data.pipeline.drawn_operations import DrawnOperations, OperationBatch, operate
from kdsweep.data.pipeline.image_operations import OPERATIONS, Operation, cut_out

LARGEST_CUTOUT = 0.5  # of the image's width


class StrongParams(NamedTuple):
    """The random parameters of strong views, one entry per image, on the CPU."""

    crop: AugmentParams
    operation: Tensor  # (n, R) int64, position in OPERATIONS
    strength: Tensor  # (n, R) float64 in [0, 1), place in the operation's range
    cutout: Tensor  # (n, 3) float64 in [0, 1): size, column and row

    def batches(self, batch_size: int, device: torch.device | str) -> list["StrongBatch"]:
        """The parameters of each batch, on the device, to which all are moved at once."""
        operations = DrawnOperations(self.operation, self.strength).batches(batch_size, device)
        cutout = self.cutout.to(device, non_blocking=True).split(batch_size)
        crop = self.crop.to(device).split(batch_size)
        return [StrongBatch(*drawn) for drawn in zip(crop, operations, cutout, strict=True)]


class StrongBatch(NamedTuple):
    """The parameters of one batch, on its device."""

    crop: AugmentParams
    operations: OperationBatch  # of TABLE
    cutout: Tensor  # (B, 3) float64


def _in_range(
    apply: Operation, low: float, high: float, images: Tensor, strength: Tensor
) -> Tensor:
    return apply(images, low + (high - low) * strength)


TABLE: tuple[Operation, ...] = tuple(partial(_in_range, *row) for row in OPERATIONS)


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

    def apply(self, images: Tensor, params: StrongBatch) -> Tensor:
        """Strong views, uint8 (B, channels, H, W), of original images on the parameters' device."""
        images = self.augment.apply(images, params.crop)
        images = operate(images, params.operations, TABLE)
        height, width = images.shape[-2:]
        size, column, row = params.cutout.T
        # A centre between 1 and the width: what the authors' np.random.uniform(width) draws.
        column, row = width - (width - 1) * column, height - (height - 1) * row
        return cut_out(images, size * (LARGEST_CUTOUT * width), column, row)
