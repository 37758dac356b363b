"""A loss term: the Huber loss between the logits of student and teacher."""

import torch.nn.functional as F
from torch import Tensor

from kdsweep import LogitTerm


class LogitHuber(LogitTerm):
    """Quadratic for differences up to `delta`, linear above. The value is not weighted here."""

    def __init__(self, delta: float, weight: float, standardize: bool = False) -> None:
        super().__init__(weight, standardize)
        if delta <= 0:
            raise ValueError(f"delta must be > 0, got {delta}")
        self.delta = delta

    def compare(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        """The mean over images and classes; logits (B, C) in float64, the teacher's detached."""
        return F.huber_loss(student_logits, teacher_logits, delta=self.delta)
