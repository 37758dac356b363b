"""Variational information distillation: Ahn et al. 2019, arXiv 1904.05835.

    vid = sum over pairs of mean 1/2 * ((mu(f_s) - f_t)^2 / v + log v),  v = softplus(s) + 1e-5

mu is three 1x1 convolutions without bias, student's channels -> teacher's, with ReLU between them;
v is one variance per channel, initially 5. Both are trained with the student, as in RepDistiller;
mdistiller never trains v. Without v's gradient this is FitNet with another regressor. Mean over
all elements; of two sizes the larger map is pooled. The value can be negative.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdsweep.losses.base.feature_term import LearnedFeatureTerm
from kdsweep.losses.base.shapes import Shape, to_same_size

INITIAL_VARIANCE = 5.0
EPS = 1e-5


class VID(LearnedFeatureTerm):
    """Negative log-likelihood of the teacher's maps. RepDistiller: three stages, weight 1."""

    maps_only = True

    def make_link(self, feature: Shape, target: Shape) -> nn.Module:
        return Gaussian(feature[1], target[1])


class Gaussian(nn.Module):
    """The teacher's map given the student's: a mean per position, a variance per channel."""

    def __init__(self, channels: int, target_channels: int) -> None:
        super().__init__()
        self.mean = nn.Sequential(
            nn.Conv2d(channels, target_channels, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(target_channels, target_channels, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(target_channels, target_channels, 1, bias=False),
        )
        scale = math.log(math.expm1(INITIAL_VARIANCE - EPS))
        self.scale = nn.Parameter(torch.full((target_channels, 1, 1), scale))

    def forward(self, feature: Tensor, target: Tensor) -> Tensor:
        feature, target = to_same_size(feature, target)
        variance = F.softplus(self.scale) + EPS
        error: Tensor = self.mean(feature) - target
        return (error.square() / variance + variance.log()).mean() / 2
