"""A distilled cell beside its baseline and its teacher: what each of them said of the test images.

N test images, C classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from kdsweep.report.analysis.aggregate import Cell
from kdsweep.report.sections.networks import is_finished, runs_of
from kdsweep.report.sources.collection import Evidence
from kdsweep.tracking.predictions import Predictions

Array = np.ndarray

USUAL_T = 4.0  # softens the teacher where the cell has no T of its own


@dataclass(frozen=True)
class Pair:
    """Answers by seed, all to the same test images.

    Args:
        name: of the distilled cell.
        baseline: the cell that learned from labels alone; None where the sweep has none.
        theirs: the baseline's; may be empty.
        teachers: of the seeds of ``ours``; empty where they were not kept.
        T: softens the teacher where it is looked at.
        config: of one of the runs.
    """

    name: str
    baseline: str | None
    ours: Mapping[int, Predictions]
    theirs: Mapping[int, Predictions]
    teachers: Mapping[int, Predictions]
    T: float
    config: Mapping[str, Any]

    @cached_property
    def seeds(self) -> list[int]:
        """That both cells have."""
        return sorted(self.ours.keys() & self.theirs.keys())

    @property
    def classes(self) -> tuple[str, ...]:
        return next(iter(self.ours.values())).classes

    @cached_property
    def labels(self) -> Array:
        """Of the test images, (N,)."""
        return labels_of(next(iter(self.ours.values())))

    @cached_property
    def counts(self) -> Array:
        """Test images of each class, (C,)."""
        return np.bincount(self.labels, minlength=len(self.classes))


def pair(evidence: Evidence, cell: Cell, baseline: str | None) -> Pair:
    """A cell that learned from a teacher, and its baseline."""
    finished = [run for run in evidence.runs if is_finished(run)]
    runs = {int(run.row["seed"]): run for run in runs_of(cell.name, finished)}
    ours = _alike({seed: run.answers for seed, run in runs.items()}, None)
    first = next(iter(ours.values()), None)
    others = runs_of(baseline, finished) if baseline is not None else []
    T = cell.rows[0]["T"]
    return Pair(
        name=cell.name,
        baseline=baseline,
        ours=ours,
        theirs=_alike({int(run.row["seed"]): run.answers for run in others}, first),
        teachers=_alike({seed: runs[seed].teacher_answers for seed in ours}, first),
        T=USUAL_T if T is None else float(T),
        config=next(iter(runs.values())).config,
    )


def _alike(
    answers: Mapping[int, Predictions | None], first: Predictions | None
) -> dict[int, Predictions]:
    """Those that were kept, and are to the images of the first one: merged sweeps may differ."""
    kept = {seed: found for seed, found in answers.items() if found is not None}
    first = first or next(iter(kept.values()), None)
    return {
        seed: found
        for seed, found in kept.items()
        if first is not None and np.array_equal(labels_of(found), labels_of(first))
    }


def labels_of(answers: Predictions) -> Array:
    """Of the test images, (N,)."""
    return answers.labels["test"].numpy()


def logits_of(answers: Predictions) -> Array:
    """On the test images, (N, C)."""
    return answers.logits["test"].numpy()


def predicted(answers: Predictions) -> Array:
    """The answer to each test image: class numbers (N,)."""
    found: Array = logits_of(answers).argmax(axis=1)
    return found


def right_answers(answers: Predictions) -> Array:
    """Whether each test image was answered rightly: bool (N,), in the order of the test set."""
    found: Array = predicted(answers) == labels_of(answers)
    return found
