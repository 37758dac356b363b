"""The base of terms that compare logits."""

import torch
from torch import Tensor

from kdsweep.common.types import Batch, Output
from kdsweep.common.validation import check_bool
from kdsweep.losses.base.logit_standardization import logits_to_compare
from kdsweep.losses.base.term import Term, reported_dtype


class LogitTerm(Term):
    """Compares the logits (B, C) of student and teacher, in float64 and outside of autocast.

    In float32 the rounding of softmax is larger than what a high temperature, or a student that
    has nearly got there, leaves to compare. The value is float32 again.

    A subclass gives ``compare``. ``standardize``: see standardize.py. Raises ValueError unless
    ``weight`` is a finite number >= 0 and ``standardize`` true or false.
    """

    def __init__(self, weight: float, standardize: bool) -> None:
        super().__init__(weight)
        check_bool("standardize", standardize)
        self.standardize = standardize

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        with torch.autocast(student.logits.device.type, enabled=False):
            ours, theirs = logits_to_compare(student, teacher, self.standardize)
            value = self.compare(ours, theirs, batch.labels)
        return value.to(reported_dtype(student.logits))

    def compare(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        """The value of float64 logits (B, C), the teacher's without gradient; labels (B,)."""
        raise NotImplementedError
