"""Cosine distance of hidden representations: PyTorch's tutorial on knowledge distillation, after
Ba and Caruana 2014, arXiv 1312.6184.

    cosine = sum over pairs of mean_i (1 - cos(f_s_i, f_t_i)),  f = the flattened feature

The value is PyTorch's ``CosineEmbeddingLoss`` with targets 1. The tutorial compares the flattened
last maps, the teacher's averaged over pairs of neighbours because they are twice as long; here any
multiple is accepted. Its objective is .75 CE + .25 cosine: ``hard_weight=0.75``.
"""

import math

import torch.nn.functional as F
from torch import Tensor

from kdsweep.losses.base.feature_term import FeatureTerm
from kdsweep.losses.base.shapes import Shape, both_shapes


class Cosine(FeatureTerm):
    """1 - cosine of paired features, flattened; in [0, 2] a pair.

    The longer one is averaged over neighbours; its length must be a multiple of the other's.
    """

    def check_shapes(self, feature: Shape, target: Shape) -> None:
        shorter, longer = sorted(math.prod(shape[1:]) for shape in (feature, target))
        if longer % shorter:
            raise ValueError(
                "features must be equally long, or one a multiple of the other, "
                f"got {both_shapes(feature, target)}"
            )

    def compare(self, feature: Tensor, target: Tensor) -> Tensor:
        length = min(feature[0].numel(), target[0].numel())
        # In float64: 1 - cos cancels where the two are nearly equal.
        student, teacher = (shortened(f.double().flatten(1), length) for f in (feature, target))
        return (1 - F.cosine_similarity(student, teacher, dim=1)).mean()


def shortened(vectors: Tensor, length: int) -> Tensor:
    """(B, k length) -> (B, length), each the mean of k neighbours."""
    return vectors.reshape(len(vectors), length, -1).mean(dim=2)
