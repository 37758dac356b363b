"""DIST, distillation from a stronger teacher: Huang et al. 2022, arXiv 2205.10536.

    dist  = beta * inter + gamma * intra
    inter = tau^2 * (1 - mean over images of pearson(q_i, p_i))
    intra = tau^2 * (1 - mean over classes of pearson(q_j, p_j))

p and q are softmax(z / tau) of teacher and student; ``inter`` correlates the classes of an image
(rows), ``intra`` the images of a class (columns). Correlation does not require equal probabilities,
which a weak student cannot reach. pearson(a, b) = a.b / (|a| |b| + 1e-8) of centred a and b, as in
the authors' repository (hunto/DIST_KD). torchdistill clamps the deviations at 1e-8 instead: the
difference depends on the predictions and is the larger the flatter they are. The paper's CIFAR-100
recipe is tau = 4, weight 2 and hard weight 1.

Unlike in ``kl``, tau^2 does not keep the size of the gradient constant: correlations do not shrink
when tau grows, so value and gradient grow with tau^2, and a sweep over T also changes the weight.
In a batch of one image no class has a correlation: ``intra`` is then tau^2, without gradient.
"""

from torch import Tensor
from torch.linalg import vector_norm

from kdsweep.common.validation import check_not_negative, check_temperature
from kdsweep.losses.base.logit_term import LogitTerm

EPS = 1e-8


class DIST(LogitTerm):
    """1 - correlation of predictions, between classes (beta) and within classes (gamma).

    ``standardize``: see logit_standardization.py. Raises ValueError unless ``tau`` is a number in
    [1e-6, 1e6], and ``beta``, ``gamma`` and ``weight`` are >= 0.
    """

    def __init__(
        self, tau: float, beta: float, gamma: float, weight: float, standardize: bool = False
    ) -> None:
        super().__init__(weight, standardize)
        check_temperature("tau", tau)
        check_not_negative("beta", beta)
        check_not_negative("gamma", gamma)
        self.tau, self.beta, self.gamma = float(tau), float(beta), float(gamma)

    def compare(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        inter, intra = relations(student_logits, teacher_logits, self.tau)
        return self.beta * inter + self.gamma * intra


def relations(student_logits: Tensor, teacher_logits: Tensor, tau: float) -> tuple[Tensor, Tensor]:
    """``inter`` and ``intra``, with tau^2; float64 logits (B, C), no teacher's gradient."""
    q, p = (student_logits / tau).softmax(dim=1), (teacher_logits / tau).softmax(dim=1)
    return tau**2 * (1 - pearson(q, p).mean()), tau**2 * (1 - pearson(q.T, p.T).mean())


def pearson(first: Tensor, second: Tensor) -> Tensor:
    """The correlation of each row of two matrices: (N,) of (N, M); 0 for rows without variance."""
    first = first - first.mean(dim=1, keepdim=True)
    second = second - second.mean(dim=1, keepdim=True)
    norms: Tensor = vector_norm(first, dim=1) * vector_norm(second, dim=1)
    return (first * second).sum(dim=1) / (norms + EPS)
