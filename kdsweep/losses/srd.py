"""SRD, a simple recipe for distillation: Miles and Mikolajczyk 2024, arXiv 2303.11098.

    srd = log sum over images and dimensions of |n(W f_s + b) - n(f_t)|^exponent

f are the embeddings before the classifier, W a linear projector trained with the student. n is
BatchNorm without parameters: each dimension gets mean 0 and variance 1 over the batch. The sum is
inside the logarithm, the paper's soft maximum for students much smaller than their teachers: the
size of the batch adds log B and does not change the gradient's size. The value may be negative.

The authors' ImageNet recipe, and torchdistill's ``SRDLoss``, are CE + 2 srd + KL at T = 1 without a
weight or T^2, with exponent 4; here KL is a term of its own: ``loss=[srd,kl] loss.kl.T=1
loss.kl.weight=1``. Their n keeps running statistics too, which training does not use. Equal
to ``OurDistillationLoss`` of roymiles/Simple-Recipe-Distillation,
imagenet/torchdistill/losses/single.py, and to torchdistill/losses/mid_level.py.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdsweep.common.validation import is_finite_number, require
from kdsweep.losses.base.feature_term import LearnedFeatureTerm
from kdsweep.losses.base.shapes import Shape, as_vectors, check_dimensions, vector_width

EPS = 1e-4  # of the variance, as in both repositories


class SRD(LearnedFeatureTerm):
    """Logarithm of the distance between normalised embeddings, after a projector a pair.

    ``pairs`` name vectors, or maps or rows of tokens, whose mean is taken. Raises ValueError for
    other shapes, and unless ``exponent`` is a number in [1, 100] and ``weight`` a finite one
    >= 0.
    """

    def __init__(self, pairs: Sequence[Sequence[str]], exponent: float, weight: float) -> None:
        super().__init__(pairs, weight)
        in_range = is_finite_number(exponent) and 1 <= exponent <= 100
        require(in_range, "exponent", "a number from 1 to 100", exponent)
        self.exponent = float(exponent)

    def check_shapes(self, feature: Shape, target: Shape) -> None:
        check_dimensions(feature, target, {2, 3, 4}, "vectors, rows of tokens or maps")

    def make_link(self, feature: Shape, target: Shape) -> nn.Module:
        return Projection(nn.Linear(vector_width(feature), vector_width(target)), self.exponent)


class Projection(nn.Module):
    """The student's projected embedding, compared with the teacher's."""

    def __init__(self, projector: nn.Module, exponent: float) -> None:
        super().__init__()
        self.projector, self.exponent = projector, exponent

    def forward(self, feature: Tensor, target: Tensor) -> Tensor:
        projected = self.projector(as_vectors(feature))
        return log_distance(projected.double(), as_vectors(target).double(), self.exponent)


def log_distance(projected: Tensor, target: Tensor, exponent: float) -> Tensor:
    """The formula, of embeddings (B, D) in the teacher's dimensions."""
    distance = (normalized(projected) - normalized(target)).abs().pow(exponent).sum()
    # A batch of one image is normalised to 0; this keeps value and gradient finite.
    return distance.clamp(min=torch.finfo(distance.dtype).tiny).log()


def normalized(embeddings: Tensor) -> Tensor:
    """Each dimension (column) with mean 0 and variance 1 over the batch."""
    variance, mean = torch.var_mean(embeddings, dim=0, correction=0)
    return (embeddings - mean) / (variance + EPS).sqrt()
