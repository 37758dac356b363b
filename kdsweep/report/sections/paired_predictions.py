"""Predictions of a distilled cell, of its baseline and of its teacher on the same test images.

N test images, C classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from kdsweep.report.analysis.aggregate import Cell
from kdsweep.report.sources.collection import RunCollection
from kdsweep.tracking.predictions import Answers

Array = np.ndarray

USUAL_T = 4.0  # softens the teacher where the cell has no T of its own


@dataclass(frozen=True)
class Pair:
    """Predictions by seed, all of the same test images.

    Args:
        name: of the distilled cell.
        baseline: the cell that learned from labels alone; None where the sweep has none.
        students: of the distilled cell.
        baseline_students: of the baseline; may be empty.
        teachers: of the seeds of ``students``; empty where they were not kept.
        T: softens the teacher where it is looked at.
        config: of one of the runs.
    """

    name: str
    baseline: str | None
    students: Mapping[int, Answers]
    baseline_students: Mapping[int, Answers]
    teachers: Mapping[int, Answers]
    T: float
    config: Mapping[str, Any]

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


def _alike(by_seed: Mapping[int, Answers | None], first: Answers | None) -> dict[int, Answers]:
    """Those that were kept and have the labels of the first one: merged sweeps may differ."""
    kept = {seed: predictions for seed, predictions in by_seed.items() if predictions is not None}
    first = first or next(iter(kept.values()), None)
    return {
        seed: predictions
        for seed, predictions in kept.items()
        if first is not None and np.array_equal(labels_of(predictions), labels_of(first))
    }


def labels_of(predictions: Answers) -> Array:
    """Of the test images, (N,)."""
    return predictions.labels["test"].numpy()


def logits_of(predictions: Answers) -> Array:
    """On the test images, (N, C)."""
    return predictions.logits["test"].numpy()


def predicted_classes(predictions: Answers) -> Array:
    """The predicted class of each test image, (N,)."""
    classes: Array = logits_of(predictions).argmax(axis=1)
    return classes


def correct_predictions(predictions: Answers) -> Array:
    """Whether each test image was classified correctly: bool (N,), in the order of the test set."""
    correct: Array = predicted_classes(predictions) == labels_of(predictions)
    return correct
