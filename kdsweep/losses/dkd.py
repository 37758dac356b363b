"""Decoupled knowledge distillation: Zhao et al. 2022, arXiv 2203.08679.

    dkd  = alpha * tckd + beta * nckd
    tckd = T^2 / B * sum_i KL([p_y, 1 - p_y] || [q_y, 1 - q_y])_i
    nckd = T^2 / B * sum_i KL(softmax(z_t / T without y) || softmax(z_s / T without y))_i

p and q are as in ``kl``, y is the label. Per image, KL = TCKD + (1 - p_y) NCKD: with a confident
teacher the other classes hardly contribute to KL; beta weights them independently. ``alpha`` here
is the paper's weight of TCKD, not kdsweep's root ``alpha``. mdistiller, the authors' repository,
masks the label with z - 1000 instead of leaving it out, which is equal up to rounding. In its
recipes the weight rises over 20 epochs: ``schedule: {warmup: 20}``.
"""

import torch
from torch import Tensor

from kdsweep.common.validation import check_not_negative
from kdsweep.losses.base.logit_term import SoftTargetTerm
from kdsweep.losses.base.soft_targets import SoftTargetComparison
from kdsweep.losses.base.target_class import other_logits, target_logits


class DKD(SoftTargetTerm):
    """alpha TCKD + beta NCKD.

    Raises ValueError unless ``alpha`` and ``beta`` are >= 0, and as `SoftTargetTerm` does.
    """

    needs_labels = True

    def __init__(
        self, T: float, alpha: float, beta: float, weight: float, standardize: bool = False
    ) -> None:
        super().__init__(T, weight, standardize)
        check_not_negative("alpha", alpha)
        check_not_negative("beta", beta)
        self.alpha, self.beta = float(alpha), float(beta)

    def compare(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        target, others = divergences(student_logits, teacher_logits, labels, self.T)
        return self.alpha * target + self.beta * others


def divergences(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, T: float | Tensor
) -> tuple[Tensor, Tensor]:
    """TCKD and NCKD, with T^2; float64 logits (B, C), labels (B,), no teacher's gradient.

    A learned T, a scalar tensor, has a gradient.
    """
    teacher, shift = teacher_logits.detach() / T, (student_logits - teacher_logits.detach()) / T
    rest, rest_shift = other_logits(teacher, labels), other_logits(shift, labels)
    others, _, p = SoftTargetComparison.apply(rest, rest_shift)
    # The shift of the rest's logsumexp, computed without subtracting two of them.
    logsumexp_shift = others.unsqueeze(1) + (p * rest_shift).sum(dim=1, keepdim=True)
    target, _, _ = SoftTargetComparison.apply(
        torch.cat([target_logits(teacher, labels), rest.logsumexp(dim=1, keepdim=True)], dim=1),
        torch.cat([target_logits(shift, labels), logsumexp_shift], dim=1),
    )
    return T**2 * target.mean(), T**2 * others.mean()
