"""Knowledge review: Chen et al. 2021, "Distilling Knowledge via Knowledge Review",
arXiv 2104.09044.

    review = sum over pairs of hcl(g, f_t)
    hcl    = (mse(g, t) + mse at 4x4 / 2 + mse at 2x2 / 4 + mse at 1x1 / 8) / (1 + 1/2 + 1/4 + 1/8)

Every level of the student is compared after it has been fused with all deeper ones (attention
based fusion): from the deepest up, a 1x1 convolution and BatchNorm map x to a common number of
channels, y is the fused map of the level below at x's size, and

    fused = x * w_1 + y * w_2,  w = sigmoid(convolution of [x, y]),  g = BatchNorm(conv3x3(fused))

hcl pools both maps to 4x4, 2x2 and 1x1; levels that are not smaller than the maps are omitted, in
the weights as well.

As in the authors' CIFAR-100 code (dvlab-research/ReviewKD, CIFAR-100/model/reviewkd.py) and in
mdistiller (mdistiller/distillers/ReviewKD.py with its default STU_PREACT=False): the student's maps
are the outputs of its stages, after the ReLU, the teacher's those before it, and the deepest level
is the embedding as a map of one position. The teacher is in eval mode, as in mdistiller; the
authors' CIFAR-100 code never calls `teacher.eval()`: with ``teacher_mode="train"`` the teacher's
BatchNorms normalise by the batch, as there. Their ImageNet code takes the student's maps before the
ReLU as well: `pairs=${pairs:before_relu,embedding}`; with MobileNet as the student, the authors
fuse 256 channels (mdistiller reads MAX_MID_CHANNEL and ignores it). The weight is .6 to 8 there,
depending on the networks, with 20 epochs of warm-up.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdsweep.common.types import Batch, Output
from kdsweep.common.validation import check_positive_integer
from kdsweep.losses.base.feature_term import LearnedFeatureTerm, with_teacher_mode
from kdsweep.losses.base.shapes import Shape, check_dimensions, downsample

LEVELS = (4, 2, 1)


class Review(LearnedFeatureTerm):
    """Fused maps of the student against the teacher's; ``pairs`` from the first to the deepest.

    A vector is a map of one position. ``max_channels``: of the fused maps, which have as many as
    the student's deepest feature, but not more than this. ``teacher_mode``: "train" or "eval", in
    which the teacher's features are computed. Raises ValueError unless ``max_channels`` is an
    integer >= 1 and ``teacher_mode`` one of these, and as `FeatureTerm` does.
    """

    def __init__(
        self,
        pairs: Sequence[Sequence[str]],
        weight: float,
        max_channels: int = 512,
        teacher_mode: Literal["train", "eval"] = "eval",
    ) -> None:
        super().__init__(with_teacher_mode(pairs, teacher_mode), weight)
        check_positive_integer("max_channels", max_channels)
        self.max_channels = max_channels

    def check_shapes(self, feature: Shape, target: Shape) -> None:
        check_dimensions(feature, target, {2, 4}, "maps or vectors")

    def setup(self, student: Output, teacher: Output, labels: Tensor) -> None:
        deepest, _ = self.pairs[-1]
        self.channels = min(self.max_channels, student.features[deepest].shape[1])
        super().setup(student, teacher, labels)

    def make_link(self, feature: Shape, target: Shape) -> nn.Module:
        deepest = len(self.links) == len(self.pairs) - 1
        return Fusion(feature[1], self.channels, target[1], fuses=not deepest)

    def values(self, features: list[Tensor], targets: list[Tensor], batch: Batch) -> list[Tensor]:
        levels = [*zip(self.links, as_maps(features), as_maps(targets), strict=True)]
        fused, distances = None, []
        for fusion, feature, target in reversed(levels):
            compared, fused = fusion(feature, fused, target.shape[2:])
            distances.append(hierarchical_distance(compared, target))
        return distances


class Fusion(nn.Module):
    """One level: the student's map, fused with those below it, in the teacher's shape."""

    def __init__(self, channels: int, common: int, target_channels: int, *, fuses: bool) -> None:
        super().__init__()
        self.enter = convolution(channels, common, kernel_size=1)
        self.leave = convolution(common, target_channels, kernel_size=3)
        self.attend = nn.Conv2d(2 * common, 2, kernel_size=1) if fuses else None

    def forward(
        self, maps: Tensor, below: Tensor | None, size: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """The map to be compared, of ``size``, and the fused one, for the level above."""
        fused = self.enter(maps)
        if self.attend is not None and below is not None:
            below = F.interpolate(below, tuple(fused.shape[2:]), mode="nearest")
            own, deeper = self.attend(torch.cat([fused, below], dim=1)).sigmoid().split(1, dim=1)
            fused = fused * own + below * deeper
        if fused.shape[2:] != torch.Size(size):
            fused = F.interpolate(fused, tuple(size), mode="nearest")
        return self.leave(fused), fused


def convolution(channels: int, target_channels: int, kernel_size: int) -> nn.Module:
    """A convolution that keeps the size, then BatchNorm."""
    layer = nn.Conv2d(channels, target_channels, kernel_size, padding=kernel_size // 2, bias=False)
    nn.init.kaiming_uniform_(layer.weight, a=1)
    return nn.Sequential(layer, nn.BatchNorm2d(target_channels))


def as_maps(features: list[Tensor]) -> list[Tensor]:
    return [feature if feature.dim() == 4 else feature[:, :, None, None] for feature in features]


def hierarchical_distance(feature: Tensor, target: Tensor) -> Tensor:
    """hcl of two maps (B, channels, H, W) of one shape."""
    share, total, distance = 1.0, 1.0, F.mse_loss(feature, target)
    for level in LEVELS:
        if level < min(feature.shape[2:]):
            share /= 2
            total += share
            pooled = downsample(feature, level, level), downsample(target, level, level)
            distance = distance + share * F.mse_loss(*pooled)
    return distance / total
