"""Mean squared error of the softened probabilities: JoonyoungYi/KD-pytorch ("mse").

    mse_probs = T^2 / (2 B C) * sum_ij (q - p)^2_ij,  p = softmax(z_t / T),  q = softmax(z_s / T)

Mean over images *and* classes, then half of it, as in KD-pytorch; KD_Lib's ``VanillaKD``, whose
default loss this is (T = 20), does not halve it: twice this value. T^2 keeps the size of the
gradient when T grows. There is no paper; ``mse`` compares logits and is another loss.
"""

from torch import Tensor

from kdsweep.losses.base.logit_term import SoftTargetTerm
from kdsweep.losses.base.soft_targets import compare_soft_targets


class MSEProbs(SoftTargetTerm):
    """T^2 / 2 times the mean squared error of the softened probabilities.

    Arguments and errors are those of `SoftTargetTerm`.
    """

    def compare(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        _, gap, _ = compare_soft_targets(student_logits / self.T, teacher_logits / self.T)
        return gap.square().mean() * self.T**2 / 2
