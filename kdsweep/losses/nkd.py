"""Normalized knowledge distillation: Yang et al. 2023, arXiv 2303.13005.

    nkd = - 1 / B * sum_i [ p_y log q_y + gamma T^2 * sum_{j != y} p'_j log q'_j ]

p and q are the predictions without a temperature, y is the label; p' and q' are the softmax of the
other classes' logits alone, divided by T. As in the paper the hard cross-entropy keeps its whole
weight beside it, and the value is a cross-entropy: not zero when the student equals the teacher.
gamma and T are 1.5 and 1 on ImageNet in the paper; the authors' repository (yzd-v/cls_KD) has 3.5
and 3 in its CIFAR-100 recipe. One version of that repository's loss leaves the label among the
other classes; the paper's formula leaves it out, as here. Tested against NumPy, not against values
of that repository.
"""

import torch.nn.functional as F
from torch import Tensor

from kdsweep.losses.checks import check_bool, check_not_negative, check_positive
from kdsweep.losses.soft_ce import soft_cross_entropy
from kdsweep.losses.standardize import logits_to_compare
from kdsweep.losses.target_class import other_logits, target_logit
from kdsweep.losses.term import Term, at_least_float32
from kdsweep.structures import Batch, Output


class NKD(Term):
    """The labelled class weighed by the teacher's confidence, and gamma times the other classes.

    ``standardize``: see standardize.py. Raises ValueError unless ``T`` is a finite number > 0, and
    ``gamma`` and ``weight`` are >= 0.
    """

    needs_labels = True

    def __init__(self, T: float, gamma: float, weight: float, standardize: bool = False) -> None:
        super().__init__(weight)
        check_positive("T", T)
        check_not_negative("gamma", gamma)
        check_bool("standardize", standardize)
        self.T, self.gamma, self.standardize = float(T), float(gamma), standardize

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        ours, theirs = logits_to_compare(student, teacher, self.standardize)
        others = other_logits(ours, batch.labels), other_logits(theirs, batch.labels)
        target = target_cross_entropy(ours, theirs, batch.labels)
        return target + self.gamma * soft_cross_entropy(*others, self.T)


def target_cross_entropy(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
    """- p_y log q_y, mean over the batch; logits (B, C), no gradient to the teacher."""
    log_q = F.log_softmax(at_least_float32(student_logits), dim=1)
    p = F.softmax(at_least_float32(teacher_logits.detach()), dim=1)
    return -(target_logit(p, labels) * target_logit(log_q, labels)).mean()
