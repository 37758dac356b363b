"""Self-supervised distillation by singular value decomposition: Lee et al. 2018, arXiv 1807.06819.

    kdsvd = sum over consecutive pairs of 1 / B sum_i,cd (R_s - R_t)^2_i,cd
    R_cd  = exp(-(a_c - b_d)^2 / 8)

a and b are the first right singular vectors of an image's two maps (H W, channels): what its
channels have most in common. The student's is that of its first four which is most parallel to the
teacher's, in the same direction; so student and teacher need equal channels, and there must be at
least two pairs.

Equal to RepDistiller's distiller_zoo/KDSVD.py with k = 1. Two things are undefined there and
defined here: the sign of a singular vector is that of a positive sum, which it is there for maps
behind a ReLU, and equal singular values do not make the gradient nan. On CUDA every step waits for
the device, because torch.linalg.eigh looks for errors on the host (docs/gpu.md).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kdsweep.common.types import Batch
from kdsweep.losses.base.feature_term import FeatureTerm
from kdsweep.losses.base.shapes import Shape, check_equal_channels

CANDIDATES = 4  # of the student's vectors; RepDistiller's k + 3
WIDTH = 8  # of the kernel


class KDSVD(FeatureTerm):
    """Squared difference of the kernels between the singular vectors of consecutive maps."""

    def __init__(self, pairs: Sequence[Sequence[str]], weight: float) -> None:
        super().__init__(pairs, weight)
        if len(self.pairs) < 2:
            raise ValueError(
                f"pairs must be two at least, to compare one with the next, got {pairs}"
            )

    def check_shapes(self, feature: Shape, target: Shape) -> None:
        check_equal_channels(feature, target)

    def values(self, features: list[Tensor], targets: list[Tensor], batch: Batch) -> list[Tensor]:
        target_vectors = [signed(singular_vectors(target, 1)).squeeze(2) for target in targets]
        vectors = [
            most_parallel(singular_vectors(feature, CANDIDATES), vector)
            for feature, vector in zip(features, target_vectors, strict=True)
        ]
        steps = zip(pairwise(vectors), pairwise(target_vectors), strict=True)
        return [(kernel(*s) - kernel(*t)).square().sum() / len(s[0]) for s, t in steps]


def singular_vectors(maps: Tensor, count: int) -> Tensor:
    """The first right singular vectors of each image: (B, C, H, W) -> (B, C, count) in float64."""
    rows = maps.flatten(2).double()
    vectors: Tensor = LeadingEigenvectors.apply(rows @ rows.mT, count)
    return vectors


def signed(vectors: Tensor) -> Tensor:
    """(B, C, n) with a sum >= 0 of each vector."""
    return torch.where(vectors.sum(dim=1, keepdim=True) < 0, -vectors, vectors)


def most_parallel(vectors: Tensor, target: Tensor) -> Tensor:
    """That of (B, C, n) which is most parallel to the target (B, C), in its direction."""
    cosines = (target.unsqueeze(1) @ vectors).squeeze(1)
    best = cosines.abs().argmax(dim=1, keepdim=True)
    chosen = vectors.gather(2, best.unsqueeze(1).expand(-1, vectors.shape[1], -1)).squeeze(2)
    return chosen * cosines.gather(1, best).detach().sign()


def kernel(before: Tensor, after: Tensor) -> Tensor:
    """Gaussian kernel of all elements of (B, C) and (B, D): (B, D, C), less 1.

    The 1 would cancel in the difference of two kernels.
    """
    return ((after.unsqueeze(2) - before.unsqueeze(1)).square() / -WIDTH).expm1()


class LeadingEigenvectors(torch.autograd.Function):
    """The eigenvectors of the largest eigenvalues of symmetric matrices (B, C, C): (B, C, count).

    The gradient is that of distinct eigenvalues; where two are equal, their vectors do not turn
    towards each other. torch's own is nan wherever two of all eigenvalues are equal, as those of
    channels that are 0.
    """

    @staticmethod
    def forward(ctx: Any, matrices: Tensor, count: int) -> Tensor:
        values, vectors = torch.linalg.eigh(matrices)
        leading: Tensor = vectors[:, :, -count:].flip(2)
        ctx.save_for_backward(values, vectors, leading)
        return leading

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        values, vectors, leading = ctx.saved_tensors
        largest = values[:, -leading.shape[2] :].flip(1)
        gaps = largest.unsqueeze(1) - values.unsqueeze(2)  # (B, all, leading)
        tiny = torch.finfo(values.dtype).eps * values[:, -1:, None].abs()
        turned = torch.where(gaps.abs() > tiny, vectors.mT @ gradient / gaps, 0.0)
        return (vectors @ turned) @ leading.mT, None
