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

from kdsweep.losses.checks import check_bool, check_not_negative, check_positive
from kdsweep.losses.kl import kl_divergence
from kdsweep.losses.standardize import logits_to_compare
from kdsweep.losses.target_class import other_logits, target_logit
from kdsweep.losses.term import Term, at_least_float32
from kdsweep.structures import Batch, Output


class DKD(Term):
    """alpha TCKD + beta NCKD.

    ``standardize``: see standardize.py. Raises ValueError unless ``T`` is a finite number > 0, and
    ``alpha``, ``beta`` and ``weight`` are >= 0.
    """

    needs_labels = True

    def __init__(
        self, T: float, alpha: float, beta: float, weight: float, standardize: bool = False
    ) -> None:
        super().__init__(weight)
        check_positive("T", T)
        check_not_negative("alpha", alpha)
        check_not_negative("beta", beta)
        check_bool("standardize", standardize)
        self.T, self.alpha, self.beta = float(T), float(alpha), float(beta)
        self.standardize = standardize

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        ours, theirs = logits_to_compare(student, teacher, self.standardize)
        target = target_class_divergence(ours, theirs, batch.labels, self.T)
        others = other_classes_divergence(ours, theirs, batch.labels, self.T)
        return self.alpha * target + self.beta * others


def target_class_divergence(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, T: float
) -> Tensor:
    """TCKD, with T^2; logits (B, C), labels (B,), no gradient to the teacher."""
    ours, theirs = (
        target_against_rest(at_least_float32(logits) / T, labels)
        for logits in (student_logits, teacher_logits)
    )
    return kl_divergence(ours, theirs, T=1.0) * T**2


def other_classes_divergence(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, T: float
) -> Tensor:
    """NCKD, with T^2; logits (B, C), labels (B,), no gradient to the teacher."""
    return kl_divergence(
        other_logits(student_logits, labels), other_logits(teacher_logits, labels), T
    )


def target_against_rest(logits: Tensor, labels: Tensor) -> Tensor:
    """Two logits an image whose softmax is [p_y, 1 - p_y]: (B, 2) of (B, C)."""
    rest = other_logits(logits, labels).logsumexp(dim=1, keepdim=True)
    return torch.cat([target_logit(logits, labels), rest], dim=1)
