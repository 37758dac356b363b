"""Knowledge distillation: Hinton, Vinyals and Dean 2015, arXiv 1503.02531.

    KL = T^2 / B * sum_ij p_ij (log p_ij - log q_ij),  p = softmax(z_t / T),  q = softmax(z_s / T)

Mean over the images and *sum* over the classes, as in RepDistiller and mdistiller. PyTorch's
``reduction="mean"`` divides by the classes as well and is C times smaller; KD_Lib's loss of this
name is an MSE of probabilities (``mse_probs``). T^2 keeps the size of the gradient when T grows;
torchdistill drops it at alpha = 0, kdsweep never does.
"""

import torch.nn.functional as F
from torch import Tensor

from kdsweep.losses.checks import check_bool, check_positive
from kdsweep.losses.standardize import logits_to_compare
from kdsweep.losses.term import Term, at_least_float32
from kdsweep.structures import Batch, Output


class KL(Term):
    """T^2 KL(teacher || student) of the softened predictions.

    ``standardize``: see standardize.py. Raises ValueError unless ``T`` is a finite number > 0 and
    ``weight`` one >= 0.
    """

    def __init__(self, T: float, weight: float, standardize: bool = False) -> None:
        super().__init__(weight)
        check_positive("T", T)
        check_bool("standardize", standardize)
        self.T, self.standardize = float(T), standardize

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        return kl_divergence(*logits_to_compare(student, teacher, self.standardize), self.T)


def kl_divergence(student_logits: Tensor, teacher_logits: Tensor, T: float) -> Tensor:
    """Mean over the batch, with T^2; logits (B, C), no gradient to the teacher."""
    log_q = F.log_softmax(at_least_float32(student_logits) / T, dim=1)
    log_p = F.log_softmax(at_least_float32(teacher_logits.detach()) / T, dim=1)
    return F.kl_div(log_q, log_p, reduction="batchmean", log_target=True) * T**2
