"""Teacher-free distillation by a designed teacher: Yuan et al. 2020, arXiv 1909.11723.

    tfkd = 1 / B * sum_i KL(u_i || q_i),  u_i = softmax(d_i / T),  q = softmax(z_s)

d_i is the prediction of a teacher that gives ``confidence`` to the label and the rest evenly to the
other classes. The authors divide these probabilities by T, not their logarithms, so that u is close
to even: at T = 20 the label has 1.05 times the probability of another class. The student's logits
have no temperature.

Equal to ``loss_kd_regularization`` of the authors' repository
(yuanli2333/Teacher-free-Knowledge-Distillation, my_loss_function.py), where KLDivLoss also averages
over the classes: its ``multiplier`` divided by C is the factor of this sum.
"""

import torch
from torch import Tensor

from kdsweep.common.types import Batch, Output
from kdsweep.common.validation import check_fraction, check_temperature
from kdsweep.losses.base.soft_targets import compare_soft_targets
from kdsweep.losses.base.term import Term, result_dtype


class TfKD(Term):
    """KL from the prediction of a designed teacher; no network teaches.

    Raises ValueError unless ``T`` is a number in [1e-6, 1e6], ``confidence`` in [0, 1] and
    ``weight`` a finite number >= 0.
    """

    needs_teacher = False
    needs_labels = True

    def __init__(self, T: float, confidence: float, weight: float) -> None:
        super().__init__(weight)
        check_temperature("T", T)
        check_fraction("confidence", confidence)
        self.T, self.confidence = float(T), float(confidence)

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        with torch.autocast(student.logits.device.type, enabled=False):
            logits = student.logits.double()
            target = self.designed(logits, batch.labels)
            divergences, _, _ = compare_soft_targets(logits, target / self.T)
        return divergences.mean().to(result_dtype(student.logits))

    def designed(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The teacher's probabilities in the shape of the logits, (B, C), for labels (B,)."""
        other = (1 - self.confidence) / (logits.shape[1] - 1)
        even = torch.full_like(logits, other, requires_grad=False)
        return even.scatter(1, labels.unsqueeze(1), self.confidence)
