"""Multi-level logit distillation: Jin, Wang and Lin 2023 (CVPR).

    mlkd     = sum over temperatures of instance + batch + class
    instance = kl
    batch    = 1 / B * |q q^t - p p^t|^2   (B x B: similarity of images)
    class    = 1 / C * |q^t q - p^t p|^2   (C x C: similarity of classes)

p and q are softmax(z / T) of teacher and student (B x C), |.|^2 is the sum of squares. The
temperatures are ``T`` times ``factors``: the paper's 2, 3, 4, 5, 6 at T = 4. In the authors'
repository only the 4 of them can be set.

The paper trains on a weak and a strong view of each image, and on the weak one excludes the half of
the images and classes with the higher confidence of the teacher; its loss has weight 0.9, and the
cross-entropy 0.1 (hard_weight=0.1). Here there is one view, and all images and classes are used:
do not expect the published accuracies. Batch and class have no T^2, as there, and are sums over the
batch, so they grow with its size: the paper's is 64. Tested against NumPy, not against values of
that repository.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from kdsweep.common.validation import check_positive, check_temperature, shown
from kdsweep.losses.base.logit_term import SoftTargetTerm
from kdsweep.losses.base.soft_targets import compare_soft_targets


class MLKD(SoftTargetTerm):
    """Instance, batch and class alignment, summed over temperatures.

    ``factors``: the temperatures in units of ``T``, at least one. Raises ValueError unless the
    product of ``T`` and each of them is a number in [1e-6, 1e6], and as `SoftTargetTerm` does.
    """

    def __init__(
        self, T: float, factors: Sequence[float], weight: float, standardize: bool = False
    ) -> None:
        super().__init__(T, weight, standardize)
        self.temperatures = [float(T) * factor for factor in validated_factors(factors)]
        for temperature in self.temperatures:
            check_temperature("T times each of factors", temperature)

    def compare(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        levels = [alignment(student_logits, teacher_logits, T) for T in self.temperatures]
        return torch.stack(levels).sum()


def alignment(student_logits: Tensor, teacher_logits: Tensor, T: float) -> Tensor:
    """The three levels at one temperature, added; float64 logits (B, C), no teacher's gradient."""
    divergences, gap, p = compare_soft_targets(student_logits / T, teacher_logits / T)
    images, classes = p.shape
    if images <= classes:
        batch_error, class_error = similarity_errors(p, gap)
    else:
        class_error, batch_error = similarity_errors(p.T, gap.T)
    return T**2 * divergences.mean() + batch_error / images + class_error / classes


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
