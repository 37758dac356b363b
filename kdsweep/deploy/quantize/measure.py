"""Variants of a classifier measured on the same images, and timed in turns."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdsweep.deploy.evaluation_images import EvaluationImages
from kdsweep.deploy.preprocessing import Preprocessing
from kdsweep.deploy.quantize.variants import Variant
from kdsweep.deploy.runtimes import logits_of, normalized
from kdsweep.deploy.timing import interleaved
from kdsweep.report.analysis.contingency import ContingencyTable, contingency


@dataclass(frozen=True)
class Measured:
    """A variant in figures.

    Attributes:
        num_bytes: the size of its files.
        same_class: share of images that get the same class as from the reference, in [0, 1].
        accuracy: in [0, 1]; None without labels.
        against: the reference (first) and it (second); None for the reference, and without labels.
        seconds: for one image, the median of interleaved rounds.
        calibration: how the ranges of its activations were found; None without calibration.
    """

    name: str
    num_bytes: int
    same_class: float
    accuracy: float | None
    against: ContingencyTable | None
    seconds: float
    calibration: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values, with the difference and its interval in [-1, 1]."""
        table = self.against
        return {
            "name": self.name,
            "bytes": self.num_bytes,
            "same_class": self.same_class,
            "accuracy": self.accuracy,
            "difference": None if table is None else table.difference,
            "interval": None if table is None else list(table.interval),
            "p": None if table is None else table.p,
            "latency_ms": 1000 * self.seconds,
            "calibration": self.calibration,
        }


def measure(
    variants: Sequence[Variant], preprocessing: Preprocessing, images: EvaluationImages
) -> list[Measured]:
    """Every variant, in order; the first is the reference."""
    logits = [logits_of(variant.run, preprocessing, images) for variant in variants]
    first = normalized(preprocessing, next(images.batches(1)))
    # The names are those of a table, and unique.
    seconds = interleaved({variant.name: partial(variant.run, first) for variant in variants})
    predicted = [output.argmax(1) for output in logits]
    correct = [_correct(classes, images) for classes in predicted]
    measured = []
    for variant, classes, right in zip(variants, predicted, correct, strict=True):
        is_reference = variant is variants[0]
        against = None
        if right is not None and correct[0] is not None and not is_reference:
            against = contingency(correct[0], right)
        measured.append(
            Measured(
                variant.name,
                variant.num_bytes,
                float((classes == predicted[0]).mean()),
                None if right is None else float(right.mean()),
                against,
                seconds[variant.name],
                variant.calibration,
            )
        )
    return measured


def _correct(classes: NDArray[Any], images: EvaluationImages) -> NDArray[np.bool_] | None:
    if images.labels is None:
        return None
    correct: NDArray[np.bool_] = classes == images.labels.cpu().numpy()
    return correct
