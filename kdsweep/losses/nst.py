"""Neuron selectivity transfer: Huang and Wang 2017, arXiv 1707.01219.

    nst = sum over pairs of mean K(t, t) + mean K(s, s) - 2 mean K(s, t),  K(a, b) = (a . b)^2

The maximum mean discrepancy between the channels of two maps: each channel is a vector over the
positions, of length 1, and the means run over images and couples of channels. The kernel is the
quadratic one without offset, as in RepDistiller; of two sizes the larger map is pooled.
"""

from torch import Tensor

from kdsweep.losses.base.feature_term import FeatureTerm
from kdsweep.losses.base.shapes import Shape, check_maps, to_same_size

EPS = 1e-24  # of a squared length


class NST(FeatureTerm):
    """Distance of the distributions of channels. RepDistiller: three stages, weight 50."""

    def check(self, feature: Shape, target: Shape) -> None:
        check_maps(feature, target)

    def compare(self, feature: Tensor, target: Tensor) -> Tensor:
        return discrepancy(feature, target)


def discrepancy(feature: Tensor, target: Tensor) -> Tensor:
    """Maps (B, channels, H, W) of any two sizes and numbers of channels."""
    ours, theirs = (maps.flatten(2) for maps in to_same_size(feature, target))
    own, teachers = products(ours, ours), products(theirs, theirs)
    between = products(ours, theirs)
    sizes, targets = squared_lengths(own), squared_lengths(teachers)
    return (
        kernel(teachers, targets, targets)
        + kernel(own, sizes, sizes)
        - 2 * kernel(between, sizes, targets)
    )


def products(one: Tensor, other: Tensor) -> Tensor:
    """(B, C, HW) and (B, D, HW) -> (B, C, D), of every couple of channels.

    What is made of them cancels; the products and their squares are left in the type of the maps,
    whose rounding has no preferred sign: the channels are brought to length 1 afterwards.
    """
    return one @ other.mT


def squared_lengths(own: Tensor) -> Tensor:
    """(B, C, C) -> (B, C) in float64, of the channels.

    Not 0, so that a channel without activation gives 0.
    """
    return own.diagonal(dim1=1, dim2=2).double().clamp(min=EPS)


def kernel(products: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """The mean of (a . b)^2 over images and couples of channels, of length 1; in float64.

    As a product with the vectors of 1 / length^2: the matrices are large.
    """
    rows = products.square().double() @ other.reciprocal().unsqueeze(2)
    return (rows.squeeze(2) / one).mean() / products.shape[2]
