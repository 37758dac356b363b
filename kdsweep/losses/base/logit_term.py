"""The bases of terms that compare logits: with and without a temperature T."""

import torch
from torch import Tensor

from kdsweep.common.types import Batch, Output
from kdsweep.common.validation import check_bool, check_temperature
from kdsweep.losses.base.logit_standardization import standardized
from kdsweep.losses.base.term import Term, result_dtype


class LogitTerm(Term):
    """Compares the logits (B, C) of student and teacher, in float64 and outside of autocast.

    In float32 the rounding error of softmax exceeds the difference that remains at a high
    temperature, or for a student close to its teacher. The value is float32 again.

    A subclass defines ``compare``. ``standardize``: see logit_standardization.py. Raises ValueError
    unless ``weight`` is a finite number >= 0 and ``standardize`` true or false.
    """

    def __init__(self, weight: float, standardize: bool = False) -> None:
        super().__init__(weight)
        check_bool("standardize", standardize)
        self.standardize = standardize

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        with torch.autocast(student.logits.device.type, enabled=False):
            logits = float64_logits(student, teacher)
            if self.standardize:
                logits = standardized(logits[0]), standardized(logits[1])
            value = self.compare(*logits, batch.labels)
        return value.to(result_dtype(student.logits))

    def compare(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        """The value for float64 logits (B, C), the teacher's without gradient; labels (B,)."""
        raise NotImplementedError


def float64_logits(student: Output, teacher: Output) -> tuple[Tensor, Tensor]:
    """The logits (B, C) of both in float64, the teacher's without gradient."""
    return student.logits.double(), teacher.logits.detach().double()


class SoftTargetTerm(LogitTerm):
    """A logit term that divides the logits by a temperature ``T``, a number in [1e-6, 1e6].

    Raises ValueError for another ``T``, and as `LogitTerm` does.
    """

    def __init__(self, T: float, weight: float, standardize: bool = False) -> None:
        super().__init__(weight, standardize)
        check_temperature("T", T)
        self.T = float(T)
