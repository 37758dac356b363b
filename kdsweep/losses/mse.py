"""Mean squared error of the logits: Ba and Caruana 2014, arXiv 1312.6184; Kim et al. 2021,
arXiv 2105.08919.

    mse = 1 / (B C) * sum_ij (z_s - z_t)^2_ij

Mean over images *and* classes, as PyTorch's ``mse_loss``; Ba and Caruana take half the sum over
the classes. It has no temperature. KD_Lib's and KD-pytorch's MSE compare probabilities, not
logits: see ``mse_probs``.
"""

import torch.nn.functional as F
from torch import Tensor

from kdsweep.losses.base.logit_term import LogitTerm


class MSE(LogitTerm):
    """Mean squared error of the logits. Arguments and errors are those of `LogitTerm`."""

    def compare(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        return F.mse_loss(student_logits, teacher_logits)
