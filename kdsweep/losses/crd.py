"""Contrastive representation distillation: Tian et al. 2020, arXiv 1910.10699.

    crd = sum over both networks of -1 / B * sum_i (log h(v_i, m_i) + sum_k log(1 - h(v_i, m_k)))
    h(v, m) = P / (P + K / N),  P = exp(v . m / temperature) / Z

v is the embedding of one network's feature, linear in ``dim`` dimensions and of length 1. m are
the *other* network's embeddings, remembered for each of the N training images: that of the same
image, and of K images of other classes, drawn anew at every step. After a step the batch's memory
becomes momentum * memory + (1 - momentum) * v, of length 1 again. Z is N times the mean of the
first batch and then stays. Denominators have + 1e-7.

Formulas, constants and the start of the memory are those of RepDistiller's "exact" mode. It draws
the K without repetition while a class leaves K others; here repetitions may come. It also gathers
K vectors an image, half a gigabyte at K=16384; here all N products are made and those not drawn
count 0 times: less memory for N below some 300,000, and on 50,000 images 14 times as fast.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdsweep.common.types import Batch, Output
from kdsweep.common.validation import (
    check_fraction,
    check_positive_integer,
    is_finite_number,
    require,
)
from kdsweep.losses.base.feature_term import LearnedFeatureTerm
from kdsweep.losses.base.shapes import Shape

EPS = 1e-7
# Of the temperature: exp(1 / temperature) over- and underflows in float32 below 0.012.
COLDEST, HOTTEST = 0.02, 1e6


class CRD(LearnedFeatureTerm):
    """Tells an image from those of other classes, across the networks. RepDistiller: weight .8.

    The memory belongs to the checkpoint. In eval mode it is left as it is. Raises ValueError for
    numbers out of range, and when all training images are of one class.
    """

    needs_labels = True

    others: "OtherClasses"

    def __init__(
        self,
        pairs: Sequence[Sequence[str]],
        weight: float,
        negatives: int = 16384,
        temperature: float = 0.07,
        momentum: float = 0.5,
        dim: int = 128,
    ) -> None:
        super().__init__(pairs, weight)
        check_positive_integer("negatives", negatives)
        in_range = is_finite_number(temperature) and COLDEST <= temperature <= HOTTEST
        require(in_range, "temperature", "a number from 0.02 to 1e6", temperature)
        check_fraction("momentum", momentum)
        check_positive_integer("dim", dim)
        self.negatives, self.dim = negatives, dim
        self.temperature, self.momentum = float(temperature), float(momentum)

    def setup(self, student: Output, teacher: Output, labels: Tensor) -> None:
        self.others = OtherClasses(labels)
        super().setup(student, teacher, labels)

    def link(self, feature: Shape, target: Shape) -> nn.Module:
        return Contrast(
            feature,
            target,
            self.dim,
            Memory(self.others.num_train, self.dim, self.temperature, self.momentum),
            Memory(self.others.num_train, self.dim, self.temperature, self.momentum),
        )

    def values(self, features: list[Tensor], targets: list[Tensor], batch: Batch) -> list[Tensor]:
        drawn = self.others.drawn(batch.labels, self.negatives)
        return [
            link(*pair, batch.index, drawn)
            for link, *pair in zip(self.links, features, targets, strict=True)
        ]


class Contrast(nn.Module):
    """Two embeddings, each against the memory of the other."""

    def __init__(
        self, feature: Shape, target: Shape, dim: int, ours: "Memory", theirs: "Memory"
    ) -> None:
        super().__init__()
        self.student = nn.Linear(math.prod(feature[1:]), dim)
        self.teacher = nn.Linear(math.prod(target[1:]), dim)
        self.ours, self.theirs = ours, theirs

    def forward(self, feature: Tensor, target: Tensor, index: Tensor, drawn: Tensor) -> Tensor:
        """``index`` (B,) of the images, ``drawn`` (B, N): how often each other one was drawn."""
        student = F.normalize(self.student(feature.flatten(1)), dim=1)
        teacher = F.normalize(self.teacher(target.flatten(1)), dim=1)
        value: Tensor = self.theirs(student, index, drawn) + self.ours(teacher, index, drawn)
        if self.training:
            self.ours.remember(student.detach(), index)
            self.theirs.remember(teacher.detach(), index)
        return value


class Memory(nn.Module):
    """One network's embedding of every training image, as it was when the image last came."""

    vectors: Tensor
    Z: Tensor

    def __init__(self, num_train: int, dim: int, temperature: float, momentum: float) -> None:
        super().__init__()
        self.temperature, self.momentum = temperature, momentum
        spread = math.sqrt(3 / dim)
        self.register_buffer("vectors", torch.empty(num_train, dim).uniform_(-spread, spread))
        self.register_buffer("Z", torch.zeros(()))  # 0: not known before the first batch

    def forward(self, embeddings: Tensor, index: Tensor, drawn: Tensor) -> Tensor:
        """The loss of the *other* network's embeddings (B, dim)."""
        same = torch.exp((embeddings * self.vectors[index]).sum(dim=1) / self.temperature)
        every = torch.exp(embeddings @ self.vectors.T / self.temperature)
        negatives = drawn.sum(dim=1)
        with torch.no_grad():
            mean = (same + (drawn * every).sum(dim=1)).sum() / (negatives + 1).sum()
            Z = torch.where(self.Z > 0, self.Z, mean * len(self.vectors))
            if self.training:
                self.Z = Z
        return contrast(same / Z, every / Z, drawn, negatives / len(self.vectors))

    @torch.no_grad()
    def remember(self, embeddings: Tensor, index: Tensor) -> None:
        kept = self.momentum * self.vectors[index] + (1 - self.momentum) * embeddings
        # Into a copy: the backward pass of this step still needs the memory as it was.
        self.vectors = self.vectors.index_copy(0, index, F.normalize(kept, dim=1))


def contrast(same: Tensor, others: Tensor, drawn: Tensor, noise: Tensor) -> Tensor:
    """Noise-contrastive loss, mean over the batch.

    Args:
        same: (B,) P of each image and itself.
        others: (B, M) P of each image and other ones.
        drawn: (B, M) how often each of these was drawn.
        noise: (B,) K / N, the expected number of times that chance draws one image.
    """
    # log (P / (P + noise)) and log (noise / (P + noise)), in forms whose gradient has no P^2.
    accepted = torch.log1p((noise + EPS) / same)
    refused = torch.log1p((others + EPS) / noise.unsqueeze(1))
    return (accepted.sum() + (drawn * refused).sum()) / len(same)


class OtherClasses(nn.Module):
    """Draws training images of other classes, uniformly and with repetition, on the device.

    Raises ValueError if all images are of one class.
    """

    order: Tensor
    start: Tensor
    size: Tensor

    def __init__(self, labels: Tensor) -> None:
        super().__init__()
        self.num_train = len(labels)
        size = torch.bincount(labels)
        if int(size.max()) == self.num_train:
            raise ValueError("training images must be of two classes at least, got one")
        # Not in the checkpoint: the data set has them.
        self.register_buffer("order", labels.argsort(stable=True), persistent=False)
        self.register_buffer("start", size.cumsum(0) - size, persistent=False)
        self.register_buffer("size", size, persistent=False)

    def drawn(self, labels: Tensor, count: int) -> Tensor:
        """(B,) labels -> (B, N), how often each image is among the ``count`` drawn for a label."""
        start, size = self.start[labels].unsqueeze(1), self.size[labels].unsqueeze(1)
        chance = torch.rand(len(labels), count, device=labels.device)
        position = (chance * (self.num_train - size)).long()
        position += size * (position >= start)  # the images in order of class, without this class
        times = torch.zeros(len(labels), self.num_train, device=labels.device)
        return times.scatter_add_(1, self.order[position], torch.ones_like(chance))
