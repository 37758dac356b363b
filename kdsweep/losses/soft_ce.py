"""Cross-entropy with the teacher's softened predictions as target: JoonyoungYi/KD-pytorch ("cse").

    soft_ce = - T^2 / B * sum_ij p_ij log q_ij,  p = softmax(z_t / T),  q = softmax(z_s / T)

This is ``kl`` plus T^2 times the teacher's entropy, so its gradient is that of ``kl``; its value
is not zero when the student equals the teacher. It is written as in Hinton, Vinyals and Dean 2015
(arXiv 1503.02531).
"""

import torch.nn.functional as F
from torch import Tensor

from kdsweep.losses.checks import check_bool, check_positive
from kdsweep.losses.standardize import logits_to_compare
from kdsweep.losses.term import Term, at_least_float32
from kdsweep.structures import Batch, Output


class SoftCE(Term):
    """T^2 times the cross-entropy between softened predictions.

    ``standardize``: see standardize.py. Raises ValueError unless ``T`` is a finite number > 0 and
    ``weight`` one >= 0.
    """

    def __init__(self, T: float, weight: float, standardize: bool = False) -> None:
        super().__init__(weight)
        check_positive("T", T)
        check_bool("standardize", standardize)
        self.T, self.standardize = float(T), standardize

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        return soft_cross_entropy(*logits_to_compare(student, teacher, self.standardize), self.T)


def soft_cross_entropy(student_logits: Tensor, teacher_logits: Tensor, T: float) -> Tensor:
    """Mean over the batch, with T^2; logits (B, C), no gradient to the teacher."""
    log_q = F.log_softmax(at_least_float32(student_logits) / T, dim=1)
    p = F.softmax(at_least_float32(teacher_logits.detach()) / T, dim=1)
    return -(p * log_q).sum(dim=1).mean() * T**2
