"""Cross-entropy with the teacher's softened predictions as target: JoonyoungYi/KD-pytorch ("cse").

    soft_ce = - T^2 / B * sum_ij p_ij log q_ij,  p = softmax(z_t / T),  q = softmax(z_s / T)

This is ``kl`` plus T^2 times the teacher's entropy, so its gradient is that of ``kl``; its value
is not zero when the student equals the teacher. It is written as in Hinton, Vinyals and Dean 2015
(arXiv 1503.02531).
"""

from torch import Tensor

from kdsweep.losses.base.logit_term import SoftTargetTerm
from kdsweep.losses.kl import kl_divergence


class SoftCE(SoftTargetTerm):
    """T^2 times the cross-entropy between softened predictions.

    Arguments and errors are those of `SoftTargetTerm`.
    """

    def compare(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        return soft_cross_entropy(student_logits, teacher_logits, self.T)


def soft_cross_entropy(student_logits: Tensor, teacher_logits: Tensor, T: float) -> Tensor:
    """Mean over the batch, with T^2; float64 logits (B, C), the teacher's without gradient."""
    log_p = (teacher_logits / T).log_softmax(dim=1)
    entropy = -(log_p.exp() * log_p).sum(dim=1).mean()
    return kl_divergence(student_logits, teacher_logits, T) + T**2 * entropy
