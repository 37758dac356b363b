"""Correlation congruence: Peng et al. 2019, arXiv 1904.01802, as RepDistiller has it.

    cc = sum over pairs of mean_i sum_d delta_i,d delta_i+1,d,  delta = |e_s - e_t|

e_s and e_t are linear embeddings of the flattened features in ``dim`` dimensions, trained with the
student and not normalised; i and i + 1 are neighbours in the batch. The paper compares correlation
matrices under a Gaussian kernel; the tables of RepDistiller use this form.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdsweep.common.validation import check_positive_integer
from kdsweep.losses.base.feature_term import LearnedFeatureTerm
from kdsweep.losses.base.shapes import Shape


class CC(LearnedFeatureTerm):
    """Product of the errors of neighbouring images' embeddings. RepDistiller: dim 128, weight .02.

    Raises ValueError unless ``dim`` is an integer >= 1.
    """

    def __init__(self, pairs: Sequence[Sequence[str]], weight: float, dim: int = 128) -> None:
        super().__init__(pairs, weight)
        check_positive_integer("dim", dim)
        self.dim = dim

    def make_link(self, feature: Shape, target: Shape) -> nn.Module:
        return Embeddings(feature, target, self.dim)


class Embeddings(nn.Module):
    """A linear layer for the student's feature and one for the teacher's."""

    def __init__(self, feature: Shape, target: Shape, dim: int) -> None:
        super().__init__()
        self.student = nn.Linear(math.prod(feature[1:]), dim)
        self.teacher = nn.Linear(math.prod(target[1:]), dim)

    def forward(self, feature: Tensor, target: Tensor) -> Tensor:
        error = torch.abs(self.student(feature.flatten(1)) - self.teacher(target.flatten(1)))
        # The mean over the B - 1 pairs of neighbours; 0 if B = 1.
        return (error[:-1] * error[1:]).sum() / max(len(error) - 1, 1)
