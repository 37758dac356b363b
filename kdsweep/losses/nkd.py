"""Normalized knowledge distillation: Yang et al. 2023, arXiv 2303.13005.

    nkd = - 1 / B * sum_i [ p_y log q_y + gamma T^2 * sum_{j != y} p'_j log q'_j ]

p and q are the predictions without a temperature, y is the label; p' and q' are the softmax of the
other classes' logits alone, divided by T. As in the paper the hard cross-entropy keeps its full
weight, and the value is a cross-entropy: not zero when the student equals the teacher.
As in the authors' repository (yzd-v/cls_KD, mmcls/models/dis_losses/nkd.py). gamma is 1.5 and T 1
on ImageNet, in the paper as there; its CIFAR-100 recipe has 3.5 and 3. An early version of that
file left the label among the other classes.
"""

from torch import Tensor

from kdsweep.common.validation import check_not_negative
from kdsweep.losses.base.logit_term import SoftTargetTerm
from kdsweep.losses.base.target_class import other_logits, target_logits
from kdsweep.losses.soft_ce import soft_cross_entropy


class NKD(SoftTargetTerm):
    """The labelled class weighted by the teacher's confidence, and gamma times the other classes.

    Raises ValueError unless ``gamma`` is >= 0, and as `SoftTargetTerm` does.
    """

    needs_labels = True

    def __init__(self, T: float, gamma: float, weight: float, standardize: bool = False) -> None:
        super().__init__(T, weight, standardize)
        check_not_negative("gamma", gamma)
        self.gamma = float(gamma)

    def compare(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        log_q, p = student_logits.log_softmax(dim=1), teacher_logits.softmax(dim=1)
        target = -(target_logits(p, labels) * target_logits(log_q, labels)).mean()
        others = other_logits(student_logits, labels), other_logits(teacher_logits, labels)
        return target + self.gamma * soft_cross_entropy(*others, self.T)
