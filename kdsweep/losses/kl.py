"""Knowledge distillation: Hinton, Vinyals and Dean 2015, arXiv 1503.02531.

    KL = T^2 / B * sum_ij p_ij (log p_ij - log q_ij),  p = softmax(z_t / T),  q = softmax(z_s / T)

Mean over the images and *sum* over the classes, as in RepDistiller and mdistiller. PyTorch's
``reduction="mean"`` divides by the classes as well and is C times smaller; KD_Lib's loss of this
name is an MSE of probabilities (``mse_probs``). T^2 keeps the size of the gradient when T grows;
torchdistill omits it at alpha = 0, kdsweep never does.
"""

from torch import Tensor

from kdsweep.losses.base.logit_term import SoftTargetTerm
from kdsweep.losses.base.soft_targets import compare_soft_targets


class KL(SoftTargetTerm):
    """T^2 KL(teacher || student) of the softened predictions.

    Arguments and errors are those of `SoftTargetTerm`.
    """

    def compare(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        return kl_divergence(student_logits, teacher_logits, self.T)


def kl_divergence(student_logits: Tensor, teacher_logits: Tensor, T: float | Tensor) -> Tensor:
    """Mean over the batch, with T^2; float64 logits (B, C), the teacher's without gradient.

    A learned T, a scalar tensor, has a gradient.
    """
    divergences, _, _ = compare_soft_targets(student_logits / T, teacher_logits / T)
    value: Tensor = T**2 * divergences.mean()
    return value
