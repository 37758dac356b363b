"""Mean squared error of the softened probabilities: JoonyoungYi/KD-pytorch ("mse").

    mse_probs = T^2 / (2 B C) * sum_ij (q - p)^2_ij,  p = softmax(z_t / T),  q = softmax(z_s / T)

Mean over images *and* classes, then half of it, as in KD-pytorch; KD_Lib's ``VanillaKD``, whose
default loss this is (T = 20), takes the whole of it: twice this value. T^2 keeps the size of the
gradient when T grows. There is no paper; ``mse`` compares logits and is another loss.
"""

import torch.nn.functional as F
from torch import Tensor

from kdsweep.losses.checks import check_bool, check_positive
from kdsweep.losses.standardize import logits_to_compare
from kdsweep.losses.term import Term, at_least_float32
from kdsweep.structures import Batch, Output


class MSEProbs(Term):
    """T^2 / 2 times the mean squared error of the softened probabilities.

    ``standardize``: see standardize.py. Raises ValueError unless ``T`` is a finite number > 0 and
    ``weight`` one >= 0.
    """

    def __init__(self, T: float, weight: float, standardize: bool = False) -> None:
        super().__init__(weight)
        check_positive("T", T)
        check_bool("standardize", standardize)
        self.T, self.standardize = float(T), standardize

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        return probability_mse(*logits_to_compare(student, teacher, self.standardize), self.T)


def probability_mse(student_logits: Tensor, teacher_logits: Tensor, T: float) -> Tensor:
    """Half the mean over all elements, with T^2; logits (B, C), no gradient to the teacher."""
    q = F.softmax(at_least_float32(student_logits) / T, dim=1)
    p = F.softmax(at_least_float32(teacher_logits.detach()) / T, dim=1)
    return F.mse_loss(q, p) * T**2 / 2
