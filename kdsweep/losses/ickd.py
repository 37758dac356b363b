"""Inter-channel correlation: Liu et al. 2021, arXiv 2202.03680.

    ickd = sum over pairs of 1 / (B C_t) * sum_i,cd (G_s - G_t)^2_i,cd,  G = F F^T, rows of length 1

F is an image's map, flattened to (C_t, H W); a learned 1x1 convolution without bias and BatchNorm
map the student's to the teacher's channels first. G is C_t x C_t, whatever the sizes of the maps.
Equal to ICKDLoss of the authors' repository (ADLab-AutoDrive/ICKD,
Cifar100/distiller_zoo/ICKD.py), without their second embedding, which has no output.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdsweep.losses.base.feature_term import LearnedFeatureTerm
from kdsweep.losses.base.shapes import Shape

CHUNK = 256  # positions


class ICKD(LearnedFeatureTerm):
    """Squared difference of the correlations of channels. The authors: last map, weight 2.5."""

    maps_only = True

    def make_link(self, feature: Shape, target: Shape) -> nn.Module:
        return ChannelCorrelation(feature[1], target[1])


class ChannelCorrelation(nn.Module):
    """The distance of two maps, the student's in the teacher's channels."""

    def __init__(self, channels: int, target_channels: int) -> None:
        super().__init__()
        self.embedding = nn.Sequential(
            nn.Conv2d(channels, target_channels, 1, bias=False), nn.BatchNorm2d(target_channels)
        )

    def forward(self, feature: Tensor, target: Tensor) -> Tensor:
        difference = correlations(self.embedding(feature)) - correlations(target)
        return difference.square().sum() / (len(target) * target.shape[1])


def correlations(maps: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, C) in float64, each row of length 1.

    Channels are multiplied in the precision of the map, in chunks of positions whose products are
    added in float64, because float64 alone is slow on most GPUs.
    """
    chunks = maps.flatten(2).split(CHUNK, dim=2)
    products = torch.stack([chunk @ chunk.mT for chunk in chunks])
    return F.normalize(products.sum(dim=0, dtype=torch.float64), dim=2)
