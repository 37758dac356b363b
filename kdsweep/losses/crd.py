"""Contrastive representation distillation: Tian et al. 2020, arXiv 1910.10699.

    crd = sum over both networks of -1 / B * sum_i (log h(v_i, m_i) + sum_k log(1 - h(v_i, m_k)))
    h(v, m) = P / (P + K / N),  P = exp(v . m / temperature) / Z

v is the embedding of one network's feature, linear in ``dim`` dimensions and of length 1. m are
the *other* network's embeddings, stored for each of the N training images: that of the same image,
and of K images of other classes, redrawn at every step. After a step the batch's memory becomes
momentum * memory + (1 - momentum) * v, normalised to length 1. Z is N times the mean of the first
batch and constant afterwards. 1e-7 is added to denominators.

Formulas, constants and the initial memory are those of RepDistiller's "exact" mode. It draws the K
without repetition while there are K images of other classes; here repetitions are possible. It also
gathers K vectors per image, half a gigabyte at K=16384; here all N products are computed and those
not drawn have count 0: less memory for N below some 300,000, and on 50,000 images 14 times as fast.
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
    """Contrast of an image with those of other classes, across networks. RepDistiller: weight .8.

    The memory is part of the checkpoint. In eval mode it is not updated. Raises ValueError for
    numbers out of range, and if all training images are of one class.
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

    def make_link(self, feature: Shape, target: Shape) -> nn.Module:
        return Contrast(
            feature,
            target,
            self.dim,
            Memory(self.others.num_train, self.dim, self.temperature, self.momentum),
            Memory(self.others.num_train, self.dim, self.temperature, self.momentum),
        )

    def values(self, features: list[Tensor], targets: list[Tensor], batch: Batch) -> list[Tensor]:
        counts = self.others.draw_counts(batch.labels, self.negatives)
        return [
            link(*pair, batch.index, counts)
            for link, *pair in zip(self.links, features, targets, strict=True)
        ]


class Contrast(nn.Module):
    """Two embeddings, each compared with the memory of the other network's."""

    def __init__(
        self, feature: Shape, target: Shape, dim: int, student: "Memory", teacher: "Memory"
    ) -> None:
        super().__init__()
        self.student = nn.Linear(math.prod(feature[1:]), dim)
        self.teacher = nn.Linear(math.prod(target[1:]), dim)
        self.ours, self.theirs = student, teacher  # names in checkpoints

    def forward(self, feature: Tensor, target: Tensor, index: Tensor, counts: Tensor) -> Tensor:
        """``index`` (B,) of the images, ``counts`` (B, N): how often each other one was drawn."""
        student = F.normalize(self.student(feature.flatten(1)), dim=1)
        teacher = F.normalize(self.teacher(target.flatten(1)), dim=1)
        value: Tensor = self.theirs(student, index, counts) + self.ours(teacher, index, counts)
        if self.training:
            self.ours.update(student.detach(), index)
            self.theirs.update(teacher.detach(), index)
        return value


class Memory(nn.Module):
    """One network's embedding of every training image, as of the last batch with that image."""

    vectors: Tensor
    Z: Tensor

    def __init__(self, num_train: int, dim: int, temperature: float, momentum: float) -> None:
        super().__init__()
        self.temperature, self.momentum = temperature, momentum
        spread = math.sqrt(3 / dim)
        self.register_buffer("vectors", torch.empty(num_train, dim).uniform_(-spread, spread))
        self.register_buffer("Z", torch.zeros(()))  # 0: unknown before the first batch

    def forward(self, embeddings: Tensor, index: Tensor, counts: Tensor) -> Tensor:
        """The loss of the *other* network's embeddings (B, dim)."""
        same = torch.exp((embeddings * self.vectors[index]).sum(dim=1) / self.temperature)
        every = torch.exp(embeddings @ self.vectors.T / self.temperature)
        negatives = counts.sum(dim=1).to(embeddings.dtype)
        with torch.no_grad():
            mean = (same + (counts * every).sum(dim=1)).sum() / (negatives + 1).sum()
            Z = torch.where(self.Z > 0, self.Z, mean * len(self.vectors))
            if self.training:
                self.Z = Z
        return contrast(same / Z, every / Z, counts, negatives / len(self.vectors))

    @torch.no_grad()
    def update(self, embeddings: Tensor, index: Tensor) -> None:
        mean = self.momentum * self.vectors[index] + (1 - self.momentum) * embeddings
        # Into a copy: the backward pass of this step still needs the previous memory.
        self.vectors = self.vectors.index_copy(0, index, F.normalize(mean, dim=1))


def contrast(same: Tensor, others: Tensor, counts: Tensor, noise: Tensor) -> Tensor:
    """Noise-contrastive loss, mean over the batch.

    Args:
        same: (B,) P of each image and itself.
        others: (B, M) P of each image and other ones.
        counts: (B, M) how often each of these was drawn.
        noise: (B,) K / N, the expected number of draws of one image.
    """
    # log (P / (P + noise)) and log (noise / (P + noise)), in forms whose gradient has no P^2.
    accepted = torch.log1p((noise + EPS) / same)
    rejected = torch.log1p((others + EPS) / noise.unsqueeze(1))
    return (accepted.sum() + (counts * rejected).sum()) / len(same)


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
        # Not in the checkpoint: derived from the data set.
        self.register_buffer("order", labels.argsort(stable=True), persistent=False)
        self.register_buffer("start", size.cumsum(0) - size, persistent=False)
        self.register_buffer("size", size, persistent=False)

    def draw_counts(self, labels: Tensor, count: int) -> Tensor:
        """(B,) labels -> (B, N), how often each image is among the ``count`` drawn for a label."""
        start, size = self.start[labels].unsqueeze(1), self.size[labels].unsqueeze(1)
        chance = torch.rand(len(labels), count, device=labels.device)
        position = (chance * (self.num_train - size)).long()
        position += size * (position >= start)  # in the images sorted by class, without this class
        counts = torch.zeros(len(labels), self.num_train, device=labels.device)
        return counts.scatter_add_(1, self.order[position], torch.ones_like(chance))
