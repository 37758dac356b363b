"""Mixup and CutMix: each image of a batch is mixed with another one, and so are their labels.

- mixup: Zhang et al. 2018, arXiv 1710.09412: lam * image + (1 - lam) * other.
- CutMix: Yun et al. 2019, arXiv 1905.04899: a box of the other image on a part 1 - lam of it.

lam is drawn from Beta(alpha, alpha), once a batch. Teacher and student see the same pixels, so the
teacher's logits are those of the mixed image, as in Beyer et al. 2022, arXiv 2106.05237.

Shapes: B images in a batch, each (channels, H, W).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from kdsweep.common.types import Batch, MixedLabels
from kdsweep.common.validation import check_not_negative


@dataclass(frozen=True)
class BatchMixer:
    """Mixes batches. With both mixup and CutMix, one is chosen at random for each batch.

    ``mixup`` and ``cutmix`` are the alphas of their Beta distributions; 0 turns one off. Raises
    ValueError unless they are finite numbers >= 0.
    """

    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        check_not_negative("dataset.augment.mixup", self.mixup)
        check_not_negative("dataset.augment.cutmix", self.cutmix)

    def __bool__(self) -> bool:
        return self.mixup > 0 or self.cutmix > 0

    def draw(self, size: int, image: tuple[int, int], generator: np.random.Generator) -> "BatchMix":
        """Draw how a batch of ``size`` images of (H, W) is mixed, on the CPU."""
        cut = self.cutmix > 0 and (self.mixup == 0 or generator.random() < 0.5)
        alpha = self.cutmix if cut else self.mixup
        lam = float(generator.beta(alpha, alpha))
        partner = torch.from_numpy(generator.permutation(size))
        if not cut:
            return BatchMix(partner, lam)
        box, lam = _box(image, lam, generator)
        return BatchMix(partner, lam, box)

    def draw_all(
        self,
        sizes: Sequence[int],
        image: tuple[int, int],
        generator: np.random.Generator,
        device: torch.device,
    ) -> list["BatchMix"]:
        """Those of batches of these sizes, one after the other, moved to the device at once."""
        drawn = [self.draw(size, image, generator) for size in sizes]
        partners = torch.cat([mix.partner for mix in drawn]).to(device, non_blocking=True)
        parts = partners.split([len(mix.partner) for mix in drawn])
        return [mix._replace(partner=part) for mix, part in zip(drawn, parts, strict=True)]

    def apply(self, batch: Batch, mix: "BatchMix") -> Batch:
        """The batch with mixed images. Each image keeps the label of its larger part.

        All views of an image are mixed with those of the same other image, in the same way.
        """
        lam, box = mix.lam, mix.box

        def mixed(images: Tensor) -> Tensor:
            others = images.index_select(0, mix.partner)
            if box is None:
                return images.lerp(others, 1 - lam)
            made = images.clone()
            made[..., box[0], box[1]] = others[..., box[0], box[1]]
            return made

        labels = batch.labels, batch.labels.index_select(0, mix.partner)
        first, second = labels if lam >= 0.5 else labels[::-1]
        second_labels = MixedLabels(second, max(lam, 1 - lam))
        return batch.with_views(mixed)._replace(labels=first, mixed=second_labels)


class BatchMix(NamedTuple):
    """How one batch is mixed."""

    partner: Tensor  # (B,) int64, positions in the batch of the images that are mixed in
    lam: float  # the share of the images themselves, in [0, 1]
    box: tuple[slice, slice] | None = None  # rows and columns of the others; None for mixup


def _box(
    image: tuple[int, int], lam: float, generator: np.random.Generator
) -> tuple[tuple[slice, slice], float]:
    """The box of an image that is replaced, and lam, the fraction of the image that is left.

    The box has the image's proportions and its centre may be anywhere; what lies outside is cut
    off, so the returned lam may be larger than the one that was drawn.
    """
    height, width = image
    side = math.sqrt(1 - lam)
    top, bottom = _span(height, side, generator)
    left, right = _span(width, side, generator)
    left_over = 1 - (bottom - top) * (right - left) / (height * width)
    return (slice(top, bottom), slice(left, right)), left_over


def _span(size: int, part: float, generator: np.random.Generator) -> tuple[int, int]:
    middle, half = int(generator.integers(size)), int(size * part) // 2
    return max(middle - half, 0), min(middle + half, size)
