"""Transformed teacher matching: Zheng and Yang 2024, arXiv 2402.11148.

    wttm = 1 / B * sum_i s_i KL(p_i || q_i),  s_i = sum_j softmax(z_t)_ij^(1 / T)
    ttm  = 1 / B * sum_i     KL(p_i || q_i),  p = softmax(z_t / T),  q = softmax(z_s)

Only the teacher's logits have a temperature, so there is no T^2. For T > 1, s_i is between 1 and
C^(1 - 1 / T), and larger where the teacher is less certain. The authors' exponent (gamma in the
paper, ``ttm_l`` in the code) is 1 / T. Equal to distiller_zoo/wttm.py and ttm.py of the authors'
repository (zkxufo/TTM).
"""

from torch import Tensor

from kdsweep.common.validation import check_bool
from kdsweep.losses.base.logit_term import SoftTargetTerm
from kdsweep.losses.base.soft_targets import compare_soft_targets


class WTTM(SoftTargetTerm):
    """KL of the student's own prediction from the teacher's softened one, weighted by image.

    ``weighted`` false gives TTM, where all images count alike. Raises ValueError unless it is true
    or false, and as `SoftTargetTerm` does.
    """

    def __init__(
        self, T: float, weight: float, weighted: bool = True, standardize: bool = False
    ) -> None:
        super().__init__(T, weight, standardize)
        check_bool("weighted", weighted)
        self.weighted = weighted

    def compare(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        divergences, _, _ = compare_soft_targets(student_logits, teacher_logits / self.T)
        if not self.weighted:
            return divergences.mean()
        powers = (teacher_logits.log_softmax(dim=1) / self.T).exp()
        return (powers.sum(dim=1) * divergences).mean()
