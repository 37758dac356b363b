"""Relational knowledge distillation: Park et al. 2019, arXiv 1904.05068.

    rkd  = sum over pairs of distance_weight * D + angle_weight * A
    D    = 1 / B^2 * sum_ij  huber(d_s_ij - d_t_ij),    d_ij  = |f_i - f_j| / mean of those > 0
    A    = 1 / B^3 * sum_ijk huber(a_s_ijk - a_t_ijk),  a_ijk = cos of the angle at i to j and k

huber(x) is x^2 / 2 up to |x| = 1 and |x| - 1 / 2 beyond (smooth L1). The two weights are *inside*:
25 and 50 in the paper, RepDistiller and mdistiller; torchdistill has 1 and 2, KD_Lib .5 and .5.
Maps are averaged over their positions first. MMRazor also gives every feature length 1 by default.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from kdsweep.common.validation import check_not_negative
from kdsweep.losses.base.feature_term import FeatureTerm
from kdsweep.losses.base.shapes import as_vectors


class RKD(FeatureTerm):
    """Distances between images and angles between triples of them. RepDistiller: weight 1.

    Its memory grows with B^3. Raises ValueError unless the inner weights are numbers >= 0.
    """

    def __init__(
        self,
        pairs: Sequence[Sequence[str]],
        weight: float,
        distance_weight: float = 25.0,
        angle_weight: float = 50.0,
    ) -> None:
        super().__init__(pairs, weight)
        check_not_negative("distance_weight", distance_weight)
        check_not_negative("angle_weight", angle_weight)
        self.distance_weight, self.angle_weight = float(distance_weight), float(angle_weight)

    def compare(self, feature: Tensor, target: Tensor) -> Tensor:
        student, teacher = differences(as_vectors(feature)), differences(as_vectors(target))
        distance = F.smooth_l1_loss(relative_lengths(student), relative_lengths(teacher))
        angle = F.smooth_l1_loss(cosines(student), cosines(teacher))
        return self.distance_weight * distance + self.angle_weight * angle


def differences(vectors: Tensor) -> Tensor:
    """(B, D) -> (B, B, D): the difference vectors between all images."""
    return vectors.unsqueeze(0) - vectors.unsqueeze(1)


def relative_lengths(vectors: Tensor) -> Tensor:
    """(B, B, D) -> (B, B): lengths, divided by the mean of those that are not 0."""
    norms = lengths(vectors)
    return norms / (norms.sum() / (norms > 0).sum().clamp(min=1)).clamp(min=1e-12)


def cosines(vectors: Tensor) -> Tensor:
    """(B, B, D) -> (B, B, B): the cosine of the angle at image i between images j and k."""
    norms = lengths(vectors).unsqueeze(2)
    # Images with equal embeddings have no direction: 0, not a gradient of 1e12.
    directions = vectors / torch.where(norms > 0, norms, 1.0)
    return directions @ directions.mT


def lengths(vectors: Tensor) -> Tensor:
    """(B, B, D) -> (B, B), with gradient 0 for length 0, as between an image and itself."""
    squares = vectors.square().sum(dim=2)
    positive = squares > 0
    return torch.where(positive, torch.where(positive, squares, 1.0).sqrt(), 0.0)
