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
a weight, and images and classes all count; here it leaves out that ties at the median raise it.

With a strong view (dataset.augment.strong_view) the levels above are those of the weak view, and
the 1 of (1 + m_B) is the instance level of the strong view, at the temperatures of
``strong_factors``: at the others, 2 and 6, the authors' code compares the weak view once more.
Their weights are 0.9, and 0.1 for the cross-entropy of each view, which is hard_weight=0.2 here:
the hard term is the mean over the views. On a single view, which is then both, this is
1.5 KL + 0.5 batch + 0.5 class for even numbers.

Batch and class have no T^2, as there, and are sums over the batch, so they grow with its size: the
paper's is 64.

``standardize`` applies to the instance level alone, as in sunshangquan/logit-standardization-KD
(mdistiller/distillers/MLKD.py). Values and gradients are tested against both repositories.
"""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from kdsweep.common.types import Batch, Output
from kdsweep.common.validation import check_bool, check_positive, check_temperature, shown
from kdsweep.losses.base.logit_standardization import standardized
from kdsweep.losses.base.logit_term import SoftTargetTerm, float64_logits
from kdsweep.losses.base.soft_targets import compare_soft_targets
from kdsweep.losses.base.term import result_dtype
from kdsweep.losses.kl import kl_divergence

Logits = tuple[Tensor, Tensor]  # of student and teacher, float64 (B, C)


class MLKD(SoftTargetTerm):
    """Instance, batch and class alignment, summed over temperatures.

    ``factors``: the temperatures in units of ``T``, at least one. ``strong_factors``: those of
    ``factors`` at which the strong view is compared where there is one; None for all of them.
    Raises ValueError unless the product of ``T`` and each factor is a number in [1e-6, 1e6], for
    strong factors that are not among the factors, and as `SoftTargetTerm` does.
    """

    compares_views = True

    def __init__(
        self,
        T: float,
        factors: Sequence[float],
        weight: float,
        standardize: bool = False,
        strong_factors: Sequence[float] | None = None,
    ) -> None:
        super().__init__(T, weight)  # which would standardise the logits of all levels
        check_bool("standardize", standardize)
        self.standardize_instances = standardize
        everywhere = validated_factors(factors)
        on_strong = which_are_strong(everywhere, strong_factors)
        self.temperatures = [(float(T) * f, s) for f, s in zip(everywhere, on_strong, strict=True)]
        for temperature, _ in self.temperatures:
            check_temperature("T times each of factors", temperature)

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        with torch.autocast(student.logits.device.type, enabled=False):
            weak, strong = float64_logits(student, teacher), None
            if student.strong is not None and teacher.strong is not None:
                strong = float64_logits(student.strong, teacher.strong)
            at_each = [
                self.value_at(T, weak, strong if on_strong else None)
                for T, on_strong in self.temperatures
            ]
            value = torch.stack(at_each).sum()
        return value.to(result_dtype(student.logits))

    def value_at(self, T: float, weak: Logits, strong: Logits | None) -> Tensor:
        """The value at one temperature; without the logits of a strong view, of the weak one."""
        images, classes = map(lower_half, weak[0].shape)
        instance, batch, by_class = levels(*weak, T)
        if self.standardize_instances:
            instance = self.instance_at(T, weak)
        other_instance = instance if strong is None else self.instance_at(T, strong)
        return images * (instance + batch) + other_instance + classes * by_class

    def instance_at(self, T: float, logits: Logits) -> Tensor:
        student, teacher = map(standardized, logits) if self.standardize_instances else logits
        return kl_divergence(student, teacher, T)


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


def validated_factors(factors: Sequence[float], key: str = "factors") -> list[float]:
    """The factors as floats; ValueError unless there is one, and all are finite numbers > 0."""
    if not isinstance(factors, Sequence) or not factors:
        raise ValueError(f"{key} must be a list of numbers > 0, at least one, got {shown(factors)}")
    for factor in factors:
        check_positive(key, factor)
    return [float(factor) for factor in factors]


def which_are_strong(factors: list[float], strong: Sequence[float] | None) -> list[bool]:
    """Whether each factor is among the strong ones, of which each counts once; None: all are."""
    if strong is None:
        return [True] * len(factors)
    left = Counter(validated_factors(strong, "strong_factors"))
    result = []
    for factor in factors:
        result.append(left[factor] > 0)
        left[factor] -= 1
    if any(count > 0 for count in left.values()):
        raise ValueError(
            f"strong_factors must be null or some of factors {factors}, got {shown(strong)}"
        )
    return result
