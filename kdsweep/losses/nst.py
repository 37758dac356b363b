"""Neuron selectivity transfer: Huang and Wang 2017, arXiv 1707.01219.

    nst = sum over pairs of mean K(t, t) + mean K(s, s) - 2 mean K(s, t),  K(a, b) = (a . b)^2

The maximum mean discrepancy between the channels of two maps: each channel is a vector over the
positions, of length 1, and the means are over images and pairs of channels. The kernel is the
quadratic one without offset, as in RepDistiller; of two sizes the larger map is pooled.
"""

from torch import Tensor

from kdsweep.losses.base.feature_term import FeatureTerm
from kdsweep.losses.base.shapes import to_same_size

EPS = 1e-24  # of a squared length


class NST(FeatureTerm):
    """Distance of the distributions of channels. RepDistiller: three stages, weight 50."""

    maps_only = True

    def compare(self, feature: Tensor, target: Tensor) -> Tensor:
        s, t = (maps.flatten(2) for maps in to_same_size(feature, target))
        ss, tt, st = products(s, s), products(t, t), products(s, t)
        s_lengths, t_lengths = squared_lengths(ss), squared_lengths(tt)
        return (
            kernel(tt, t_lengths, t_lengths)
            + kernel(ss, s_lengths, s_lengths)
            - 2 * kernel(st, s_lengths, t_lengths)
        )


def products(one: Tensor, other: Tensor) -> Tensor:
    """(B, C, HW) and (B, D, HW) -> (B, C, D), for every pair of channels.

    The kernels of them cancel; still, the products and their squares are left in the type of the
    maps: its rounding has no preferred sign, as the channels are normalised only afterwards.
    """
    return one @ other.mT


def squared_lengths(gram: Tensor) -> Tensor:
    """(B, C, C) -> (B, C) in float64, of the channels.

    Never 0, so that the kernel of a channel without activation is 0 and not nan.
    """
    return gram.diagonal(dim1=1, dim2=2).double().clamp(min=EPS)


def kernel(products: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """The mean of (a . b)^2 over images and pairs of channels of length 1; in float64.

    Computed as a product with the vectors of 1 / length^2, because the matrices are large.
    """
    rows = products.square().double() @ second.reciprocal().unsqueeze(2)
    return (rows.squeeze(2) / first).mean() / products.shape[2]
