"""Neuron selectivity transfer: Huang and Wang 2017, arXiv 1707.01219.

    nst = sum over pairs of mean K(t, t) + mean K(s, s) - 2 mean K(s, t),  K(a, b) = (a . b)^2

The maximum mean discrepancy between the channels of two maps: each channel is a vector over the
positions, of length 1, and the means run over images and couples of channels. The kernel is the
quadratic one without offset, as in RepDistiller; of two sizes the larger map is pooled.
"""

import torch.nn.functional as F
from torch import Tensor

from kdsweep.losses.pairs import PairedTerm
from kdsweep.losses.shapes import Shape, check_maps, same_size


class NST(PairedTerm):
    """Distance of the distributions of channels. RepDistiller: three stages, weight 50."""

    def check(self, feature: Shape, target: Shape) -> None:
        check_maps(feature, target)

    def compare(self, feature: Tensor, target: Tensor) -> Tensor:
        return discrepancy(feature, target)


def discrepancy(feature: Tensor, target: Tensor) -> Tensor:
    """Maps (B, channels, H, W) of any two sizes and numbers of channels."""
    ours, theirs = (channel_directions(maps) for maps in same_size(feature, target))
    return kernel(theirs, theirs) + kernel(ours, ours) - 2 * kernel(ours, theirs)


def channel_directions(maps: Tensor) -> Tensor:
    """(B, channels, H, W) -> (B, channels, H W), each channel of length 1."""
    return F.normalize(maps.flatten(2), dim=2)


def kernel(one: Tensor, other: Tensor) -> Tensor:
    """The mean of (a . b)^2 over images and all couples of a channel of each."""
    return (one @ other.mT).square().mean()
