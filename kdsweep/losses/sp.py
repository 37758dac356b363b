"""Similarity-preserving distillation: Tung and Mori 2019, arXiv 1907.09682.

    sp = sum over pairs of 1 / B^2 * sum_ij (G_s - G_t)^2_ij,  G = f f^T with rows of length 1

f is the feature, flattened to (B, D); G are the similarities of the images of a batch. The rows are
normalised by their L2 norm, as in the paper, RepDistiller and mdistiller. torchdistill's
``normalize(G, 1)`` divides by the L1 norm and gives another value.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from kdsweep.losses.base.feature_term import FeatureTerm

CHUNK = 512  # dimensions


class SP(FeatureTerm):
    """Squared difference of the batch's similarities. RepDistiller: last map, weight 3000."""

    def compare(self, feature: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(similarities(feature), similarities(target))


def similarities(feature: Tensor) -> Tensor:
    """(B, ...) -> (B, B) in float64, each row of length 1.

    Images are multiplied in the precision of the feature, in chunks whose products are added in
    float64: one float32 sum would lose the difference of nearly equal products, and float64 alone
    is 32 to 64 times as slow on most GPUs.
    """
    products = [chunk @ chunk.T for chunk in feature.flatten(1).split(CHUNK, dim=1)]
    return F.normalize(torch.stack(products).sum(dim=0, dtype=torch.float64), dim=1)
