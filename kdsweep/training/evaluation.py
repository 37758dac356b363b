"""Metrics of networks on a split of N images of C classes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdsweep.common.types import Batch

ECE_BINS = 15


@dataclass(frozen=True)
class Split:
    """A named part of the data (`val` or `test`), with the teacher's logits if there is one."""

    name: str
    batches: Callable[[], Iterable[Batch]]
    labels: Tensor  # (N,)
    teacher_logits: Tensor | None = None  # (N, C)

    def metrics(self, logits: Tensor, *, agreement: bool = True) -> dict[str, float]:
        """`val/acc`, `val/loss`, `val/ece` and (optional) `val/agreement` of logits (N, C)."""
        metrics = {
            "acc": accuracy(logits, self.labels),
            "loss": F.cross_entropy(logits.double(), self.labels).item(),
            "ece": calibration_error(logits, self.labels),
        }
        if agreement and self.teacher_logits is not None:
            metrics["agreement"] = accuracy(logits, self.teacher_logits.argmax(1))
        return {f"{self.name}/{key}": value for key, value in metrics.items()}


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
    correct = (predicted == labels).double()
    bins = (confidence * ECE_BINS).ceil().long().clamp(1, ECE_BINS) - 1
    gap = torch.zeros(ECE_BINS, dtype=torch.float64, device=logits.device)
    gap.index_add_(0, bins, confidence - correct)
    return (gap.abs().sum() / len(labels)).item()


def confusion(logits: Tensor, labels: Tensor) -> Tensor:
    """Counts (C, C): row = true class, column = predicted class."""
    classes = logits.shape[1]
    pairs = labels * classes + logits.argmax(1)
    return torch.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
