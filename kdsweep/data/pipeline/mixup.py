"""Mixup and CutMix: each image of a batch is mixed with another one, and so are their labels.

- mixup: Zhang et al. 2018, arXiv 1710.09412: lam * image + (1 - lam) * other.
- CutMix: Yun et al. 2019, arXiv 1905.04899: a box of the other image on a part 1 - lam of it.

lam is drawn from Beta(alpha, alpha), once a batch. Teacher and student see the same pixels, so the
teacher's logits are those of the mixed image, as in Beyer et al. 2022, arXiv 2106.05237.

Shapes: B images in a batch, each (channels, H, W).
"""

import math
from dataclasses import dataclass

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

    def apply(self, batch: Batch, generator: np.random.Generator) -> Batch:
        """The batch with mixed images. Each image keeps the label of its larger part.

        Both views of an image are mixed with those of the same other image, in the same way.
        """
        cut = self.cutmix > 0 and (self.mixup == 0 or generator.random() < 0.5)
        alpha = self.cutmix if cut else self.mixup
        lam = float(generator.beta(alpha, alpha))
        partner = torch.from_numpy(generator.permutation(len(batch.labels)))
        partner = partner.to(batch.labels.device, non_blocking=True)
        images, strong = batch.images, batch.strong
        if strong is not None:
            images = torch.stack((images, strong))
        others = images.index_select(-4, partner)
        if cut:
            images, lam = _cut(images, others, lam, generator)
        else:
            images = images.lerp(others, 1 - lam)
        if strong is not None:
            images, strong = images.unbind()
        labels = batch.labels, batch.labels.index_select(0, partner)
        first, second = labels if lam >= 0.5 else labels[::-1]
        return Batch(images, first, batch.index, MixedLabels(second, max(lam, 1 - lam)), strong)


def _cut(
    images: Tensor, others: Tensor, lam: float, generator: np.random.Generator
) -> tuple[Tensor, float]:
    """A box of the other images pasted in, and lam, the fraction of the image that is left.

    The box has the image's proportions and its centre may be anywhere; what lies outside is cut
    off, so the returned lam may be larger than the one that was drawn.
    """
    height, width = images.shape[-2:]
    side = math.sqrt(1 - lam)
    top, bottom = _span(height, side, generator)
    left, right = _span(width, side, generator)
    images = images.clone()
    images[..., top:bottom, left:right] = others[..., top:bottom, left:right]
    return images, 1 - (bottom - top) * (right - left) / (height * width)


def _span(size: int, part: float, generator: np.random.Generator) -> tuple[int, int]:
    middle, half = int(generator.integers(size)), int(size * part) // 2
    return max(middle - half, 0), min(middle + half, size)
