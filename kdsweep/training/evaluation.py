"""Metrics of networks on a split of N images of C classes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kdsweep.common.calibration import ECE_BINS
from kdsweep.common.types import Batch
from kdsweep.training.readings import Readings


class ImageScores(NamedTuple):
    """What the metrics need of a network's logits of N images: O(N) memory instead of O(N C)."""

    predicted: Tensor  # (N,) classes
    confidence: Tensor  # (N,) probabilities of these, in (0, 1]
    loss: Tensor  # (N,) cross-entropies, in nats


@dataclass(frozen=True)
class Split:
    """A named part of the data (`val` or `test`), with the teacher's logits if there is one."""

    name: str
    batches: Callable[[], Iterable[Batch]]
    labels: Tensor  # (N,)
    teacher_logits: Tensor | None = None  # (N, C)

    @property
    def teacher_predicted(self) -> Tensor | None:
        """The classes (N,) that the teacher predicts, if there is one."""
        return None if self.teacher_logits is None else self.teacher_logits.argmax(1)

    def readings(self, scores: ImageScores, teacher_predicted: Tensor | None = None) -> Readings:
        """`val/acc`, `val/loss`, `val/ece`, and `val/agreement` with a teacher's classes (N,).

        Float64 scalars on the device. Means are summed in float64; the summands are float32.
        """
        correct = scores.predicted == self.labels
        readings = {
            "acc": correct.double().mean(),
            "loss": scores.loss.mean(dtype=torch.float64),
            "ece": _calibration_error(scores.confidence, correct),
        }
        if teacher_predicted is not None:
            readings["agreement"] = (scores.predicted == teacher_predicted).double().mean()
        return {f"{self.name}/{key}": value for key, value in readings.items()}


def image_scores(logits: Tensor, labels: Tensor) -> ImageScores:
    """The scores of logits (N, C), in their precision.

    From the sum o of the other classes' exp(logit - largest logit): the confidence is 1 / (1 + o),
    and log(1 + o) does not round a small o away, as the logarithm of a softmax does. The mean of
    float32 losses is within 1e-7 of that in float64, relative to it.
    """
    largest, predicted = logits.max(1)
    centred = logits - largest[:, None]
    others = centred.exp().scatter(1, predicted[:, None], 0.0).sum(1)
    own = centred.gather(1, labels[:, None]).squeeze(1)
    return ImageScores(predicted, 1 / (1 + others), others.log1p() - own)


@torch.no_grad()
def evaluate(split: Split, networks: Sequence[Callable[[Tensor], Tensor]]) -> list[ImageScores]:
    """Each network's scores of a split's N images, in float32. The batches are read once."""
    batchwise: list[list[ImageScores]] = [[] for _ in networks]
    for batch in split.batches():
        for network, scores in zip(networks, batchwise, strict=True):
            scores.append(image_scores(network(batch.images).float(), batch.labels))
    return [ImageScores(*map(torch.cat, zip(*scores, strict=True))) for scores in batchwise]


@torch.no_grad()
def predict(
    batches: Iterable[Batch], networks: Sequence[Callable[[Tensor], Tensor]]
) -> list[Tensor]:
    """Each network's logits (N, C) in float32. The batches are read once."""
    logits: list[list[Tensor]] = [[] for _ in networks]
    for batch in batches:
        for network, outputs in zip(networks, logits, strict=True):
            outputs.append(network(batch.images).float())
    return [torch.cat(outputs) for outputs in logits]


@contextmanager
def eval_mode(models: Sequence[nn.Module]) -> Iterator[None]:
    """Eval mode inside, training mode afterwards; nothing else changes a student's mode."""
    for model in models:
        model.eval()
    try:
        yield
    finally:
        for model in models:
            model.train()


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Top-1 accuracy of logits (N, C), in [0, 1]."""
    return (logits.argmax(1) == labels).double().mean().item()


def calibration_error(logits: Tensor, labels: Tensor) -> float:
    """Expected calibration error over 15 equal bins of confidence (Guo et al. 2017), in [0, 1]."""
    confidence, predicted = logits.double().softmax(1).max(1)
    return _calibration_error(confidence, predicted == labels).item()


def _calibration_error(confidence: Tensor, correct: Tensor) -> Tensor:
    bins = (confidence * ECE_BINS).ceil().long().clamp(1, ECE_BINS) - 1
    gap = torch.zeros(ECE_BINS, dtype=torch.float64, device=confidence.device)
    gap.index_add_(0, bins, confidence.double() - correct.double())
    return gap.abs().sum() / len(correct)


def confusion(logits: Tensor, labels: Tensor) -> Tensor:
    """Counts (C, C): row = true class, column = predicted class."""
    classes = logits.shape[1]
    pairs = labels * classes + logits.argmax(1)
    return torch.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
