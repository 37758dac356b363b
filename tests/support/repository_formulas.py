"""The totals that other repositories minimise, written from their code, on random inputs.

Shapes: B images, C classes; float64 throughout, so that a difference is one of formulas.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from kdsweep.common.types import Batch, Output

B, C = 8, 10
STUDENT = {"stage1": (6, 8, 8), "stage2": (8, 4, 4), "stage3": (10, 2, 2), "pool": (10,)}
TEACHER = {"stage1": (9, 8, 8), "stage2": (12, 4, 4), "stage3": (15, 4, 4), "pool": (15,)}


class Inputs(NamedTuple):
    """What a step of training compares."""

    student: Output
    teacher: Output
    batch: Batch

    @property
    def logits(self) -> tuple[Tensor, Tensor]:
        return self.student.logits, self.teacher.logits

    @property
    def strong_logits(self) -> tuple[Tensor, Tensor]:
        """Those of the strong view."""
        assert self.student.strong is not None
        assert self.teacher.strong is not None
        return self.student.strong.logits, self.teacher.strong.logits

    def maps(self, *names: str) -> list[tuple[Tensor, Tensor]]:
        """The features of these names, of the student and of the teacher."""
        return [(self.student.features[name], self.teacher.features[name]) for name in names]


def random_inputs(seed: int = 16) -> Inputs:
    """Logits with a spread of 3, and features as after a ReLU."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def output(shapes: dict[str, tuple[int, ...]]) -> Output:
        features = {name: drawn(B, *shape).relu() + 0.01 for name, shape in shapes.items()}
        return Output(3 * drawn(B, C), features)

    labels = torch.randint(C, (B,), generator=generator)
    batch = Batch(torch.zeros(B, 3, 32, 32), labels, torch.arange(B))
    return Inputs(output(STUDENT), output(TEACHER), batch)


def with_strong_view(inputs: Inputs) -> Inputs:
    """With other logits for a strong view of the same images."""
    other = random_inputs(seed=17)
    student = inputs.student._replace(strong=other.student)
    return inputs._replace(student=student, teacher=inputs.teacher._replace(strong=other.teacher))


def ce(inputs: Inputs, smoothing: float = 0.0) -> Tensor:
    """timm's LabelSmoothingCrossEntropy; without smoothing, everybody's cross-entropy."""
    logs = inputs.student.logits.log_softmax(1)
    own = logs.gather(1, inputs.batch.labels[:, None]).squeeze(1)
    return -((1 - smoothing) * own + smoothing * logs.mean(1)).mean()


def divergence(student: Tensor, teacher: Tensor, T: float) -> Tensor:
    """The mean over the images of KL, without T^2."""
    p, q = (teacher / T).log_softmax(1), (student / T).log_softmax(1)
    return (p.exp() * (p - q)).sum() / len(p)


def kl(inputs: Inputs, T: float) -> Tensor:
    """RepDistiller's distiller_zoo/KD.py and mdistiller's distillers/KD.py."""
    return T**2 * divergence(*inputs.logits, T)


def standardized(logits: Tensor) -> Tensor:
    """`normalize` of logit-standardization-KD, mdistiller/distillers/KD.py."""
    return (logits - logits.mean(1, keepdim=True)) / (1e-7 + logits.std(1, keepdim=True))


def kl_standardized(inputs: Inputs, T: float) -> Tensor:
    student, teacher = map(standardized, inputs.logits)
    return T**2 * divergence(student, teacher, T)


def dkd(
    student: Tensor, teacher: Tensor, labels: Tensor, *, T: float, alpha: float, beta: float
) -> Tensor:
    """mdistiller's distillers/DKD.py, which hides the label by subtracting 1000."""
    label = F.one_hot(labels, C).double()
    own = [(logits / T).softmax(1).mul(label).sum(1) for logits in (student, teacher)]
    q, p = (torch.stack([share, 1 - share], dim=1) for share in own)
    target = (p * (p.log() - q.log())).sum() / len(p)
    hidden = [logits - 1000.0 * T * label for logits in (student, teacher)]
    return T**2 * (alpha * target + beta * divergence(hidden[0], hidden[1], T))


def mlkd(inputs: Inputs, temperature: float, weight: float, ce_weight: float) -> Tensor:
    """logit-standardization-KD, mdistiller/distillers/MLKD.py with --logit-stand.

    A mask of the lower half of the images (classes) multiplies what is a scalar already.
    """
    (student, teacher), (strong, of_strong) = inputs.logits, inputs.strong_logits
    confidence = teacher.softmax(1)
    images, classes = (
        shares.le(shares.quantile(0.5)).double().mean()
        for shares in (confidence.max(1).values, confidence.sum(0))
    )

    def kl_of(student: Tensor, teacher: Tensor, T: float) -> Tensor:
        return T**2 * divergence(standardized(student), standardized(teacher), T)

    total = torch.zeros((), dtype=torch.float64)
    for T in (temperature, 3.0, 5.0, 2.0, 6.0):
        q, p = (student / T).softmax(1), (teacher / T).softmax(1)
        total = total + images * kl_of(student, teacher, T)
        total = total + images * (q @ q.T - p @ p.T).square().sum() / B
        total = total + classes * (q.T @ q - p.T @ p).square().sum() / C
    for T in (temperature, 3.0, 5.0):
        total = total + kl_of(strong, of_strong, T)
    for T in (2.0, 6.0):
        total = total + kl_of(student, teacher, T)
    cross_entropies = F.cross_entropy(student, inputs.batch.labels) + F.cross_entropy(
        strong, inputs.batch.labels
    )
    return ce_weight * cross_entropies + weight * total


def at(pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
    """RepDistiller's distiller_zoo/AT.py: the larger map is averaged to the smaller one's size."""
    total = torch.zeros((), dtype=torch.float64)
    for maps in pairs:
        size = min(each.shape[2] for each in maps)
        pooled = [F.adaptive_avg_pool2d(each, size) for each in maps]
        first, second = (F.normalize(each.square().mean(1).flatten(1)) for each in pooled)
        total = total + (first - second).square().mean()
    return total


def sp(student: Tensor, teacher: Tensor) -> Tensor:
    """RepDistiller's distiller_zoo/SP.py."""
    first, second = (F.normalize(f.flatten(1) @ f.flatten(1).T) for f in (student, teacher))
    return (first - second).square().sum() / len(student) ** 2


def rkd(student: Tensor, teacher: Tensor) -> Tensor:
    """RepDistiller's distiller_zoo/RKD.py, with its 25 and 50; squared distances are clamped."""

    def distances(f: Tensor) -> Tensor:
        squares = f.square().sum(1)
        table = (squares[:, None] + squares[None] - 2 * f @ f.T).clamp(min=1e-12).sqrt()
        table = table * (1 - torch.eye(len(f), dtype=f.dtype))
        return table / table[table > 0].mean()

    def angles(f: Tensor) -> Tensor:
        directions = F.normalize(f[None] - f[:, None], dim=2)
        return torch.einsum("iad,ibd->iab", directions, directions)

    return 25 * F.smooth_l1_loss(distances(student), distances(teacher)) + 50 * F.smooth_l1_loss(
        angles(student), angles(teacher)
    )


def pkt(student: Tensor, teacher: Tensor, eps: float = 1e-7) -> Tensor:
    """RepDistiller's distiller_zoo/PKT.py."""

    def probabilities(f: Tensor) -> Tensor:
        rows = f / (f.norm(dim=1, keepdim=True) + eps)
        similar = (rows @ rows.T + 1) / 2
        return similar / similar.sum(1, keepdim=True)

    q, p = probabilities(student), probabilities(teacher)
    return (p * ((p + eps) / (q + eps)).log()).mean()


def nst(pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
    """RepDistiller's distiller_zoo/NST.py."""

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return torch.einsum("bip,bjp->bij", a, b).square().mean()

    total = torch.zeros((), dtype=torch.float64)
    for maps in pairs:
        size = min(each.shape[2] for each in maps)
        pooled = [F.adaptive_avg_pool2d(each, size) for each in maps]
        s, t = (F.normalize(each.flatten(2), dim=2) for each in pooled)
        total = total + kernel(t, t) + kernel(s, s) - 2 * kernel(s, t)
    return total


def hint(student: Tensor, teacher: Tensor, convolution: Any) -> Tensor:
    """RepDistiller's distiller_zoo/FitNet.py after ConvReg (models/util.py) in training.

    The student's map is as large as the teacher's.
    """
    mapped = F.conv2d(student, convolution.weight, convolution.bias)
    mean = mapped.mean((0, 2, 3), keepdim=True)
    variance = mapped.var((0, 2, 3), unbiased=False, keepdim=True)
    return (((mapped - mean) / (variance + 1e-5).sqrt()).relu() - teacher).square().mean()


def soft_ce(inputs: Inputs, T: float) -> Tensor:
    """KD-pytorch's trainer.py, "cse"."""
    student, teacher = inputs.logits
    p, q = (teacher / T).softmax(1), (student / T).log_softmax(1)
    return -(T**2) * (p * q).sum(1).mean()


def mse_of_probabilities(inputs: Inputs, T: float) -> Tensor:
    """KD_Lib's vision/vanilla/vanilla_kd.py; KD-pytorch's "mse" is half of it."""
    student, teacher = inputs.logits
    return T**2 * F.mse_loss((teacher / T).softmax(1), (student / T).softmax(1))
