"""Predictions of networks: of one and its calibration, of a cell and its baseline and teacher.

N images, C classes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any

import numpy as np

from kdsweep.report.analysis.aggregate import Cell
from kdsweep.report.analysis.statistics import Interval, summary
from kdsweep.report.analysis.temperature_scaling import (
    Array,
    Scores,
    bootstrap_interval,
    calibrated_temperature,
    is_reached,
    scores,
)
from kdsweep.report.formatting import interval
from kdsweep.report.sources.collection import RunCollection
from kdsweep.tracking.predictions import Predictions

USUAL_T = 4.0  # softens the teacher where the cell has no T of its own


def distinct(predictions: Iterable[Predictions | None]) -> list[Predictions]:
    """Those that were kept, each once: runs of many seeds may share a teacher."""
    return list({each.digest: each for each in predictions if each is not None}.values())


def with_validation(predictions: Iterable[Predictions | None]) -> list[Predictions]:
    """Those that were kept, of validation images, too."""
    return [each for each in predictions if each is not None and "val" in each.logits]


def logits_and_labels(predictions: Predictions, split: str) -> tuple[Array, Array]:
    """Logits (N, C) and labels (N,)."""
    return predictions.logits[split], predictions.labels[split]


def labels_of(predictions: Predictions) -> Array:
    """Of the test images, (N,)."""
    return predictions.labels["test"]


def logits_of(predictions: Predictions) -> Array:
    """On the test images, (N, C)."""
    return predictions.logits["test"]


def predicted_classes(predictions: Predictions) -> Array:
    """The predicted class of each test image, (N,)."""
    classes: Array = logits_of(predictions).argmax(axis=1)
    return classes


def correct_predictions(predictions: Predictions) -> Array:
    """Whether each test image was classified correctly: bool (N,), in the order of the test set."""
    correct: Array = predicted_classes(predictions) == labels_of(predictions)
    return correct


@dataclass(frozen=True)
class Network:
    """A teacher, or the students of a cell: one network, or one of every seed."""

    name: str
    predictions: Sequence[Predictions]  # with validation among their splits

    @cached_property
    def temperatures(self) -> list[float]:
        """The calibrated T of each, which may be a limit."""
        return [calibrated_temperature(*logits_and_labels(p, "val")) for p in self.predictions]

    @cached_property
    def fitted(self) -> list[tuple[Predictions, float]]:
        """The networks that have a calibrated T, with it."""
        every = zip(self.predictions, self.temperatures, strict=True)
        return [(predictions, T) for predictions, T in every if is_reached(T)]

    @property
    def T(self) -> float:
        """The calibrated T, its mean over the seeds."""
        return fmean(T for _, T in self.fitted)

    @cached_property
    def interval(self) -> Interval | None:
        """95 % of T: over images (bootstrap) for one network, over seeds (t) for several."""
        if not self.fitted:
            return None
        if len(self.fitted) > 1:
            return summary([T for _, T in self.fitted]).t_interval
        ((predictions, T),) = self.fitted
        return bootstrap_interval(*logits_and_labels(predictions, "val"), T)

    @property
    def T_with_interval(self) -> str:
        """`1.64 [1.21, 2.1]`; an end at 0 is the limit where all images are right."""
        return f"{self.T:.3g} {interval(self.interval, '.3g', 1)}".rstrip()

    @cached_property
    def before(self) -> list[Scores]:
        """On test, of the same networks as `after`; of all where none has a calibrated T."""
        shown = [predictions for predictions, _ in self.fitted] or self.predictions
        return [scores(*logits_and_labels(predictions, "test")) for predictions in shown]

    @cached_property
    def after(self) -> list[Scores]:
        """On test with logits divided by T, of the networks that have one."""
        return [scores(*logits_and_labels(p, "test"), T) for p, T in self.fitted]

    @property
    def images(self) -> int:
        """Validation images, on which T is fitted."""
        return len(self.predictions[0].labels["val"])


@dataclass(frozen=True)
class Pair:
    """A distilled cell and its baseline: predictions by seed, all of the same test images."""

    name: str
    baseline: str | None  # the cell that learned from labels alone; None where there is none
    students: Mapping[int, Predictions]
    baseline_students: Mapping[int, Predictions]  # may be empty
    teachers: Mapping[int, Predictions]  # of the same seeds; empty where they were not kept
    T: float  # softens the teacher where it is looked at
    config: Mapping[str, Any]  # of one of the runs

    @cached_property
    def seeds(self) -> list[int]:
        """The seeds of both cells."""
        return sorted(self.students.keys() & self.baseline_students.keys())

    @property
    def classes(self) -> tuple[str, ...]:
        return next(iter(self.students.values())).classes

    @cached_property
    def labels(self) -> Array:
        """Of the test images, (N,)."""
        return labels_of(next(iter(self.students.values())))

    @cached_property
    def counts(self) -> Array:
        """Test images of each class, (C,)."""
        return np.bincount(self.labels, minlength=len(self.classes))


def pair(collection: RunCollection, cell: Cell, baseline: str | None) -> Pair:
    """A cell that learned from a teacher, and its baseline."""
    runs = {int(run.row["seed"]): run for run in collection.finished_runs(cell.name)}
    students = _alike({seed: run.predictions for seed, run in runs.items()}, None)
    first = next(iter(students.values()), None)
    others = collection.finished_runs(baseline) if baseline is not None else []
    T = cell.rows[0]["T"]
    return Pair(
        name=cell.name,
        baseline=baseline,
        students=students,
        baseline_students=_alike({int(run.row["seed"]): run.predictions for run in others}, first),
        teachers=_alike({seed: runs[seed].teacher_predictions for seed in students}, first),
        T=USUAL_T if T is None else float(T),
        config=next(iter(runs.values())).config,
    )


def _alike(
    by_seed: Mapping[int, Predictions | None], first: Predictions | None
) -> dict[int, Predictions]:
    """Those that were kept and have the labels of the first one: merged sweeps may differ."""
    kept = {seed: predictions for seed, predictions in by_seed.items() if predictions is not None}
    first = first or next(iter(kept.values()), None)
    return {
        seed: predictions
        for seed, predictions in kept.items()
        if first is not None and np.array_equal(labels_of(predictions), labels_of(first))
    }
