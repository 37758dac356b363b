"""Attention transfer: Zagoruyko and Komodakis 2017, arXiv 1612.03928.

    at = sum over pairs of mean_i,hw (q_s - q_t)^2,  q = a / ||a||_2,  a_hw = mean_c f_chw^2

q is the attention map: one number per position, squared activations averaged over the channels,
normalised over all positions of an image. As in RepDistiller and mdistiller the difference is
averaged over images *and* positions, and of two sizes the larger map is pooled. torchdistill's
``mode='paper'`` takes the L2 norm of the difference instead, and KD_Lib sums over the channels and
adds T CE(z / T): other losses.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from kdsweep.losses.base.feature_term import FeatureTerm
from kdsweep.losses.base.shapes import to_same_size

GROUP = 16  # channels


class AT(FeatureTerm):
    """Squared difference of normalised attention maps. RepDistiller: three stages, weight 1000."""

    maps_only = True

    def compare(self, feature: Tensor, target: Tensor) -> Tensor:
        feature, target = to_same_size(feature, target)
        return F.mse_loss(attention(feature), attention(target))


def attention(maps: Tensor) -> Tensor:
    """(B, channels, H, W) -> (B, H W) in float64, each row of length 1.

    Groups of channels are summed in the precision of the maps, and only their sums in float64,
    which is 32 to 64 times as slow on most GPUs.
    """
    sums = [group.square().sum(dim=1) for group in maps.split(GROUP, dim=1)]
    return F.normalize(torch.stack(sums).sum(dim=0, dtype=torch.float64).flatten(1), dim=1)
