"""Decoupled knowledge distillation: Zhao et al. 2022, arXiv 2203.08679.

    dkd  = alpha * tckd + beta * nckd
    tckd = T^2 / B * sum_i KL([p_y, 1 - p_y] || [q_y, 1 - q_y])_i
    nckd = T^2 / B * sum_i KL(softmax(z_t / T without y) || softmax(z_s / T without y))_i

p and q are as in ``kl``, y is the label. Per image, KL = TCKD + (1 - p_y) NCKD: a confident teacher
silences what it knows of the other classes, and beta gives it its voice again. ``alpha`` here is
the paper's weight of TCKD, not kdsweep's root ``alpha``. mdistiller, the authors' repository, hides
the label with z - 1000 instead of leaving it out, which is the same up to rounding. Its recipes let
the weight rise over 20 epochs: ``schedule: {warmup: 20}``.
"""

import torch
from torch import Tensor

from kdsweep.common.validation import check_not_negative, check_temperature
from kdsweep.losses.base.logit_term import LogitTerm
from kdsweep.losses.base.soft_targets import SoftTargetComparison
from kdsweep.losses.base.target_class import other_logits, target_logits


class DKD(LogitTerm):
    """alpha TCKD + beta NCKD.

    ``standardize``: see standardize.py. Raises ValueError unless ``T`` is a number in [1e-6, 1e6],
    and ``alpha``, ``beta`` and ``weight`` are >= 0.
    """

    needs_labels = True

    def __init__(
        self, T: float, alpha: float, beta: float, weight: float, standardize: bool = False
    ) -> None:
        super().__init__(weight, standardize)
        check_temperature("T", T)
        check_not_negative("alpha", alpha)
        check_not_negative("beta", beta)
        self.T, self.alpha, self.beta = float(T), float(alpha), float(beta)

    def compare(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        target, others = divergences(student_logits, teacher_logits, labels, self.T)
        return self.alpha * target + self.beta * others


def divergences(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, T: float
) -> tuple[Tensor, Tensor]:
    """TCKD and NCKD, with T^2; float64 logits (B, C), labels (B,), no teacher's gradient."""
    theirs, shift = teacher_logits.detach() / T, (student_logits - teacher_logits.detach()) / T
    rest, moved = other_logits(theirs, labels), other_logits(shift, labels)
    others, _, p = SoftTargetComparison.apply(rest, moved)
    # By how much the rest's logsumexp differs, and not the difference of two of them.
    beyond = others.unsqueeze(1) + (p * moved).sum(dim=1, keepdim=True)
    target, _, _ = SoftTargetComparison.apply(
        torch.cat([target_logits(theirs, labels), rest.logsumexp(dim=1, keepdim=True)], dim=1),
        torch.cat([target_logits(shift, labels), beyond], dim=1),
    )
    return T**2 * target.mean(), T**2 * others.mean()
