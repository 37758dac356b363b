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
    """The random parameters of strong views, one entry per image, on the CPU."""

    crop: AugmentParams
    operation: Tensor  # (n, R) int64, position in OPERATIONS
    strength: Tensor  # (n, R) float64 in [0, 1), place in the operation's range
    cutout: Tensor  # (n, 3) float64 in [0, 1): size, column and row

    def batches(self, batch_size: int, device: torch.device | str) -> list["StrongBatch"]:
        """The parameters of each batch, on the device, to which all are moved at once."""
        operations = self.operation.split(batch_size)
        orders = [operation.argsort(dim=0, stable=True) for operation in operations]
        places = torch.stack((torch.cat(orders), torch.cat([o.argsort(dim=0) for o in orders])))
        order, back, strength, cutout = (
            values.to(device, non_blocking=True).split(batch_size)
            for values in (*places, self.strength, self.cutout)
        )
        crop = self.crop.to(device).split(batch_size)
        counts = [[_counts(column) for column in operation.T] for operation in operations]
        parts = zip(crop, counts, order, back, strength, cutout, strict=True)
        return [StrongBatch(*drawn) for drawn in parts]


class StrongBatch(NamedTuple):
    """The parameters of one batch, on its device: images of one operation are to be adjacent.

    Their numbers are known on the host, so that it need not wait for the device.
    """

    crop: AugmentParams
    counts: list[list[int]]  # R times the number of images of each of OPERATIONS
    order: Tensor  # (B, R) int64, positions of the images, sorted by operation
    back: Tensor  # (B, R) int64, the inverse
    strength: Tensor  # (B, R) float64
    cutout: Tensor  # (B, 3) float64


def _counts(operation: Tensor) -> list[int]:
    counts: list[int] = operation.bincount(minlength=len(OPERATIONS)).tolist()
    return counts


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
        for place, counts in enumerate(params.counts):
            order, back = params.order[:, place], params.back[:, place]
            strength = params.strength[:, place].index_select(0, order)
            done = _operate(images.index_select(0, order), strength, counts)
            images = done.index_select(0, back)
        height, width = images.shape[-2:]
        size, column, row = params.cutout.T
        # A centre between 1 and the width: what the authors' np.random.uniform(width) draws.
        column, row = width - (width - 1) * column, height - (height - 1) * row
        return cut_out(images, size * (LARGEST_CUTOUT * width), column, row)


def _operate(images: Tensor, strength: Tensor, counts: list[int]) -> Tensor:
    """Images after their operations; ``counts`` of them have the first, the second and so on."""
    groups, strengths = images.split(counts), strength.split(counts)
    done = [
        apply(group, low + (high - low) * values)
        for (apply, low, high), group, values in zip(OPERATIONS, groups, strengths, strict=True)
        if len(group)
    ]
    return torch.cat(done)
