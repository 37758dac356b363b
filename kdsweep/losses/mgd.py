"""Masked generative distillation: Yang et al. 2022, arXiv 2205.01529.

    mgd = sum over pairs of 1 / B * sum (G(m a(f_s)) - f_t)^2

a is a 1x1 convolution to the teacher's channels where the student has another number of them, m
hides channels: of each image, each channel with probability ``masked``. G, two 3x3 convolutions
with a ReLU between them, generates the teacher's map from what is left; a and G are trained with
the student. As the error is a sum over channels and positions, a map four times as large weighs
four times as much.

This is the authors' form for classification. For detection and segmentation their masks hide
positions. They require equal sizes; here the larger map is pooled. The masks are drawn anew in
every step, from the generator that is seeded by run, epoch and step.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdsweep.common.validation import check_fraction
from kdsweep.losses.base.feature_term import LearnedFeatureTerm
from kdsweep.losses.base.shapes import Shape, to_same_size


class MGD(LearnedFeatureTerm):
    """Squared distance of generated maps. The authors: last map, weight 7e-5, ``masked`` .15.

    Raises ValueError unless ``masked`` is in [0, 1).
    """

    maps_only = True

    def __init__(self, pairs: Sequence[Sequence[str]], weight: float, masked: float = 0.15) -> None:
        super().__init__(pairs, weight)
        check_fraction("masked", masked, one=False)
        self.masked = float(masked)

    def make_link(self, feature: Shape, target: Shape) -> nn.Module:
        return Generation(feature[1], target[1], self.masked)


class Generation(nn.Module):
    """The teacher's map, generated from the student's without some channels, and its error."""

    def __init__(self, channels: int, target_channels: int, masked: float) -> None:
        super().__init__()
        self.masked = masked
        self.align: nn.Module = nn.Identity()
        if channels != target_channels:
            self.align = nn.Conv2d(channels, target_channels, 1)
        self.generation = nn.Sequential(
            nn.Conv2d(target_channels, target_channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(target_channels, target_channels, 3, padding=1),
        )

    def forward(self, feature: Tensor, target: Tensor) -> Tensor:
        feature, target = to_same_size(feature, target)
        aligned = self.align(feature)
        # In float32 whatever the features are: the same masks in every precision.
        draws = torch.rand(*target.shape[:2], 1, 1, device=target.device, dtype=torch.float32)
        generated = self.generation(aligned * (draws >= self.masked))
        error: Tensor = (generated - target).square().sum()
        return error / len(target)
