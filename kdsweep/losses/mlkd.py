"""Multi-level logit distillation: Jin, Wang and Lin 2023 (CVPR).

    mlkd     = sum over temperatures of instance + batch + class
    instance = kl
    batch    = 1 / B * |q q^t - p p^t|^2   (B x B: which images are alike)
    class    = 1 / C * |q^t q - p^t p|^2   (C x C: which classes are alike)

p and q are softmax(z / T) of teacher and student (B x C), |.|^2 is the sum of squares. The
temperatures are ``T`` times ``factors``: the paper's 2, 3, 4, 5, 6 at T = 4. In the authors'
repository only the 4 of them can be set.

The paper trains on a weak and a strong view of each image, and on the weak one leaves out the half
of the images and classes that the teacher is surer of; its loss is weighted 0.9 beside 0.1 of
cross-entropy (hard_weight=0.1). Here there is one view, and every image and class counts: its
published accuracies are not to be expected. Batch and class have no T^2, as there, and are sums
over the batch, so they grow with its size: the paper's is 64. Tested against NumPy, not against
values of that repository.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from kdsweep.losses.checks import check_bool, check_positive
from kdsweep.losses.kl import kl_divergence
from kdsweep.losses.standardize import logits_to_compare
from kdsweep.losses.term import Term, at_least_float32
from kdsweep.structures import Batch, Output


class MLKD(Term):
    """Instance, batch and class alignment, summed over temperatures.

    ``factors``: the temperatures in units of ``T``. ``standardize``: see standardize.py. Raises
    ValueError unless ``T`` and every factor (at least one) are finite numbers > 0 and ``weight``
    is one >= 0.
    """

    def __init__(
        self, T: float, factors: Sequence[float], weight: float, standardize: bool = False
    ) -> None:
        super().__init__(weight)
        check_positive("T", T)
        check_bool("standardize", standardize)
        self.temperatures = [float(T) * factor for factor in checked_factors(factors)]
        self.standardize = standardize

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        ours, theirs = logits_to_compare(student, teacher, self.standardize)
        levels = [alignment(ours, theirs, T) for T in self.temperatures]
        return torch.stack(levels).sum()


def alignment(student_logits: Tensor, teacher_logits: Tensor, T: float) -> Tensor:
    """The three levels at one temperature, added; logits (B, C), no gradient to the teacher."""
    q = F.softmax(at_least_float32(student_logits) / T, dim=1)
    p = F.softmax(at_least_float32(teacher_logits.detach()) / T, dim=1)
    instance = kl_divergence(student_logits, teacher_logits, T)
    return instance + likeness_error(q, p) + likeness_error(q.T, p.T)


def likeness_error(first: Tensor, second: Tensor) -> Tensor:
    """1 / N * |a a^t - b b^t|^2 of two matrices (N, M)."""
    with torch.autocast(first.device.type, enabled=False):  # it would multiply in bf16
        return (first @ first.T - second @ second.T).square().sum() / len(first)


def checked_factors(factors: Sequence[float]) -> list[float]:
    """The factors as floats; ValueError unless there is one, and all are finite numbers > 0."""
    if not isinstance(factors, Sequence) or not factors:
        raise ValueError(f"factors must be a list of numbers > 0, at least one, got {factors!r}")
    for factor in factors:
        check_positive("factors", factor)
    return [float(factor) for factor in factors]
