"""Probabilistic knowledge transfer: Passalis and Tefas 2018, arXiv 1803.10837.

    pkt = sum over pairs of 1 / B^2 * sum_ij p_t log((p_t + eps) / (p_s + eps)),  eps = 1e-7
    p_ij = (1 + cos(f_i, f_j)) / sum_k (1 + cos(f_i, f_k))

p_ij is the probability that image i selects image j as its neighbour. Mean over all pairs of
images, as in RepDistiller and mdistiller; maps are averaged over their positions first.
"""

import torch
from torch import Tensor

from kdsweep.losses.base.feature_term import FeatureTerm
from kdsweep.losses.base.shapes import as_vectors

EPS = 1e-7


class PKT(FeatureTerm):
    """Divergence of the batch's similarities as probabilities. RepDistiller: weight 30000."""

    def compare(self, feature: Tensor, target: Tensor) -> Tensor:
        # In float64: the features of a batch are so similar, especially after a ReLU, that all but
        # the last digits of float32 cancel.
        student, teacher = affinities(feature.double()), affinities(target.double())
        return (teacher * torch.log((teacher + EPS) / (student + EPS))).mean()


def affinities(feature: Tensor) -> Tensor:
    """(B, ...) -> (B, B), the probabilities p_ij; each row sums to 1."""
    vectors = as_vectors(feature)
    directions = vectors / (torch.linalg.vector_norm(vectors, dim=1, keepdim=True) + EPS)
    similarity: Tensor = (directions @ directions.T + 1) / 2
    return similarity / similarity.sum(dim=1, keepdim=True)
