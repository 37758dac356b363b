"""Multi-level logit distillation: Jin, Wang and Lin 2023 (CVPR).

    mlkd     = sum over temperatures of (1 + m_B) instance + m_B batch + m_C class
    instance = kl
    batch    = 1 / B * |q q^t - p p^t|^2   (B x B: similarity of images)
    class    = 1 / C * |q^t q - p^t p|^2   (C x C: similarity of classes)

p and q are softmax(z / T) of teacher and student (B x C), |.|^2 is the sum of squares. The
temperatures are ``T`` times ``factors``: the paper's 2, 3, 4, 5, 6 at T = 4.

m_N = ceil(N / 2) / N is 1/2 for an even N. In the authors' code, Jin-Ying/
Multi-Level-Logit-Distillation (mdistiller/distillers/KD_ours.py), it is the mean of a mask of the
images, or classes, for which the teacher's confidence is at most the median. The paper excludes the
others, but the code multiplies the mask with a loss that is a scalar already, so that the mask is
a weight, and images and classes all count; here it leaves out that ties at the median raise it. The
weights in that code are 0.9, and 0.1 for the cross-entropy of each of two views of an image, weak
and strong. On a single view, as here, that is 0.9 of this term and hard_weight=0.2.

Batch and class have no T^2, as there, and are sums over the batch, so they grow with its size: the
paper's is 64.

``standardize`` applies to the instance level alone, as in sunshangquan/logit-standardization-KD
(mdistiller/distillers/MLKD.py). Values and gradients are tested against both repositories.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from kdsweep.common.validation import check_bool, check_positive, check_temperature, shown
from kdsweep.losses.base.logit_standardization import standardized
from kdsweep.losses.base.logit_term import SoftTargetTerm
from kdsweep.losses.base.soft_targets import compare_soft_targets
from kdsweep.losses.kl import kl_divergence


class MLKD(SoftTargetTerm):
    """Instance, batch and class alignment, summed over temperatures.

    ``factors``: the temperatures in units of ``T``, at least one. Raises ValueError unless the
    product of ``T`` and each of them is a number in [1e-6, 1e6], and as `SoftTargetTerm` does.
    """

    def __init__(
        self, T: float, factors: Sequence[float], weight: float, standardize: bool = False
    ) -> None:
        super().__init__(T, weight)  # which would standardise the logits of all levels
        check_bool("standardize", standardize)
        self.standardize_instances = standardize
        self.temperatures = [float(T) * factor for factor in validated_factors(factors)]
        for temperature in self.temperatures:
            check_temperature("T times each of factors", temperature)

    def compare(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        images, classes = map(lower_half, student_logits.shape)
        total = []
        for T in self.temperatures:
            instance, batch, by_class = levels(student_logits, teacher_logits, T)
            if self.standardize_instances:
                pair = standardized(student_logits), standardized(teacher_logits)
                instance = kl_divergence(*pair, T)
            total.append((1 + images) * instance + images * batch + classes * by_class)
        return torch.stack(total).sum()


def lower_half(count: int) -> float:
    """The share of ``count`` different numbers that are at most their median."""
    return (count + 1) // 2 / count


def levels(
    student_logits: Tensor, teacher_logits: Tensor, T: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Instance, batch, class at one temperature; float64 logits (B, C), no teacher's gradient."""
    divergences, gap, p = compare_soft_targets(student_logits / T, teacher_logits / T)
    images, classes = p.shape
    if images <= classes:
        batch_error, class_error = similarity_errors(p, gap)
    else:
        class_error, batch_error = similarity_errors(p.T, gap.T)
    return T**2 * divergences.mean(), batch_error / images, class_error / classes


def similarity_errors(p: Tensor, gap: Tensor) -> tuple[Tensor, Tensor]:
    """|q q^t - p p^t|^2 and |q^t q - p^t p|^2 of (N, M) matrices p and q = p + gap.

    Both are computed from N x N matrices: with g = gap,

        q q^t - p p^t       = p g^t + g p^t + g g^t
        |q^t q - p^t p|^2   = <q q^t + p p^t, g g^t> + 2 <q g^t, g p^t>

    where <,> is the sum of the products of the elements.
    """
    pp, pg, gg = p @ p.T, p @ gap.T, gap @ gap.T
    change = pg + pg.T + gg
    columns = ((2 * pp + change) * gg).sum() + 2 * ((pg + gg) * pg.T).sum()
    return change.square().sum(), columns


def validated_factors(factors: Sequence[float]) -> list[float]:
    """The factors as floats; ValueError unless there is one, and all are finite numbers > 0."""
    if not isinstance(factors, Sequence) or not factors:
        raise ValueError(
            f"factors must be a list of numbers > 0, at least one, got {shown(factors)}"
        )
    for factor in factors:
        check_positive("factors", factor)
    return [float(factor) for factor in factors]
