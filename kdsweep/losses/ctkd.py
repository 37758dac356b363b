"""Curriculum temperature: Li et al. 2023, arXiv 2211.16231.

    ctkd = kl or dkd at the temperature  T = T_min + T_range * sigmoid(u)

u is one learned number, initially 1, trained by the student's optimizer, with its weight decay, on
the reversed gradient - s(n) d(weight * ctkd) / du: T rises where that makes the value larger. The
strength s grows over the epochs n = 1, 2, ..., from easy to hard:

    s(n) = strength * (1 - cos(pi * min(n, loops) / loops)) / 2

T_min and T_range are ``--t_start`` and ``--t_end`` of the authors' repository (zhengli97/CTKD,
models/temp_global.py, helper/loops.py), ``strength`` is -``--decay_min`` with ``--cosine_decay 1``
and ``--decay_max 0``, ``loops`` is ``--decay_loops``. With another term in its place the authors
add that term: ``loss=[ctkd,sp]``; only DKD gets the temperature itself. Their temperature per
image is not offered: the network that predicts it is not in their repository.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from kdsweep.common.validation import (
    HOTTEST,
    check_not_negative,
    check_positive,
    check_temperature,
    check_whole,
    require,
    shown,
)
from kdsweep.losses.base.logit_term import LogitTerm
from kdsweep.losses.dkd import divergences
from kdsweep.losses.kl import kl_divergence

INITIAL = 1.0  # of u
DKD_KEYS = {"alpha", "beta"}


class CTKD(LogitTerm):
    """KL or DKD at a temperature that is learned against the student.

    Args:
        T_min: the lower end of the temperatures, in [1e-6, 1e6].
        T_range: > 0, the distance to the upper end, which is at most 1e6.
        loops: whole number >= 1, the epochs in which the reversal grows.
        strength: >= 0, of the reversal in the end.
        dkd: the weights ``alpha`` and ``beta`` of DKD, >= 0; None for KL.

    Raises ValueError for values out of range, and as `LogitTerm` does.
    """

    def __init__(
        self,
        T_min: float,
        T_range: float,
        loops: int,
        strength: float,
        weight: float,
        standardize: bool = False,
        dkd: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(weight, standardize)
        check_temperature("T_min", T_min)
        check_positive("T_range", T_range)
        fits = T_min + T_range <= HOTTEST
        require(fits, "T_range", f"a number <= {HOTTEST - T_min:g}", T_range)
        check_whole("loops", loops, least=1)
        check_not_negative("strength", strength)
        self.T_min, self.T_range = float(T_min), float(T_range)
        self.loops, self.strength = loops, float(strength)
        self.dkd = None if dkd is None else validated_dkd(dkd)
        self.needs_labels = dkd is not None
        self.u = nn.Parameter(torch.tensor(INITIAL))

    def compare(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        T = with_reversed_gradient(self.temperature(), self.reversal(self.epoch))
        if self.dkd is None:
            return kl_divergence(student_logits, teacher_logits, T)
        target, others = divergences(student_logits, teacher_logits, labels, T)
        return self.dkd["alpha"] * target + self.dkd["beta"] * others

    def temperature(self) -> Tensor:
        """The current T, a scalar in float64."""
        return self.T_min + self.T_range * self.u.double().sigmoid()

    def reversal(self, epoch: int) -> float:
        """s in an epoch, which counts from 0."""
        share = min(epoch + 1, self.loops) / self.loops
        return self.strength * (1 - math.cos(math.pi * share)) / 2

    def metrics(self) -> dict[str, Tensor]:
        return {"T": self.temperature().detach()}


def with_reversed_gradient(value: Tensor, strength: float) -> Tensor:
    """The same value, with its gradient multiplied by -``strength``."""
    return value.detach() - strength * (value - value.detach())


def validated_dkd(weights: Mapping[str, float]) -> dict[str, float]:
    if not isinstance(weights, Mapping) or set(weights) != DKD_KEYS:
        raise ValueError(f"dkd must be a mapping of alpha and beta or null, got {shown(weights)}")
    for name, weight in weights.items():
        check_not_negative(f"dkd.{name}", weight)
    return dict(weights)
