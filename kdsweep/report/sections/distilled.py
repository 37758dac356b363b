"""What distillation did to the students: what they took over from the teacher, and at what price.

The best distilled cell is held against its baseline, the cell that learned from labels alone, seed
by seed, on test.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from kdsweep.report.analysis.aggregate import Cell, Grid
from kdsweep.report.analysis.statistics import Comparison, Seeds, compare
from kdsweep.report.analysis.temperature_scaling import log_probabilities
from kdsweep.report.sections.class_changes import tell_gains, tell_matrices
from kdsweep.report.sections.paired_predictions import Pair, labels_of, logits_of, pair, predicted
from kdsweep.report.sections.prediction_flips import tell as tell_fixed_and_broken
from kdsweep.report.sections.section import Line, Section, Table
from kdsweep.report.sources.collection import Evidence
from kdsweep.tracking.predictions import Predictions

TITLE = "What distillation did"
NOT_KEPT = "No answers were kept (tracking.answers=false): what distillation did is not known."
NOT_CHOSEN = (
    "Nothing was held out to choose by (dataset.val_fraction=0): no cell is looked at closely."
)
TEACHER_NOT_KEPT = "The answers of its teacher were not kept."


def section(evidence: Evidence, grid: Grid) -> Section | None:
    """What the report says of it; None where no cell that learned from a teacher has finished.

    Writes `fixed_and_broken.png` into the home of the evidence.
    """
    taught = [cell for cell in grid.cells if cell.test and cell.rows[0]["teacher"] is not None]
    if not taught:
        return None
    if grid.best is None and len(taught) > 1:
        return Section(TITLE, [NOT_CHOSEN])
    cell = taught[0]
    found = pair(evidence, cell, grid.baselines.get(cell.name))
    if not found.ours:
        return Section(TITLE, [NOT_KEPT])
    parts = [
        Section(TITLE, [_which(cell, grid)]),
        _taken_over(found),
        tell_gains(found),
        tell_fixed_and_broken(found, evidence.home, evidence.load),
        tell_matrices(found),
    ]
    return Section(
        TITLE,
        [sentence for part in parts for sentence in part.sentences],
        [table for part in parts for table in part.tables],
        [figure for part in parts for figure in part.figures],
        [picture for part in parts for picture in part.pictures],
    )


def _which(cell: Cell, grid: Grid) -> str:
    first = "the best cell" if cell is grid.best else "the best cell that learned from a teacher"
    baseline = grid.baselines.get(cell.name)
    against = "" if baseline is None else f", against {baseline}, its baseline"
    return f"This is about {cell.name}, {first}{against}; on test, seed by seed."


class Measure(NamedTuple):
    """Something of a student and its teacher on test."""

    what: str
    of: Callable[[Predictions, Predictions], float]
    scale: float  # as it is told
    unit: str


def agreement(student: Predictions, teacher: Predictions) -> float:
    """Share of the test images that both answer alike, in [0, 1]."""
    return float(np.mean(predicted(student) == predicted(teacher)))


def repeated_mistakes(student: Predictions, teacher: Predictions) -> float:
    """Share of the teacher's wrong answers on test that the student gives, too, in [0, 1]."""
    wrong = predicted(teacher) != labels_of(teacher)
    return float(np.mean(predicted(student)[wrong] == predicted(teacher)[wrong]))


def divergence(student: Predictions, teacher: Predictions) -> float:
    """KL(teacher || student) at T = 1, in nats per test image."""
    log_p, log_q = (log_probabilities(logits_of(found)) for found in (teacher, student))
    return float((np.exp(log_p) * (log_p - log_q)).sum(axis=1).mean())


AGREEMENT = Measure("agreement with the teacher", agreement, 100, "%")
MISTAKES = Measure("mistakes of the teacher that are repeated", repeated_mistakes, 100, "%")
DIVERGENCE = Measure("KL divergence from the teacher", divergence, 1, "nats")


def _taken_over(pair: Pair) -> Section:
    """How like its teacher each student has become."""
    if not pair.teachers:
        return Section(TITLE, [TEACHER_NOT_KEPT])
    errs = [(predicted(found) != labels_of(found)).any() for found in pair.teachers.values()]
    measures = [AGREEMENT, *([MISTAKES] if all(errs) else []), DIVERGENCE]
    ours = {one.what: _measured(one, pair.ours, pair.teachers) for one in measures}
    theirs = {one.what: _measured(one, pair.theirs, pair.teachers) for one in measures}
    found = compare({one.what: (ours[one.what], theirs[one.what]) for one in measures})
    lines: list[Line] = [
        (
            f"{one.what} ({one.unit})",
            _mean(ours[one.what], one),
            _mean(theirs[one.what], one),
            _difference(found[one.what], one),
            _p(found[one.what]),
        )
        for one in measures
    ]
    told = "; ".join(_told(one, line) for one, line in zip(measures, lines, strict=True))
    note = (
        "Means over the seeds, on test; KL(teacher || student) at T = 1. The difference has its"
        " 95 % interval; p: paired t-test over the shared seeds, Holm-corrected over the rows."
    )
    header = ("likeness", pair.name, pair.baseline or "no baseline", "difference", "p")
    return Section(TITLE, [f"Likeness to the teacher: {told}."], [Table(header, lines, note)])


def _measured(
    measure: Measure, students: Mapping[int, Predictions], teachers: Mapping[int, Predictions]
) -> Seeds:
    return {
        seed: measure.of(students[seed], teacher)
        for seed, teacher in teachers.items()
        if seed in students
    }


def _told(measure: Measure, line: Line) -> str:
    _, ours, theirs, difference, p = line
    against = f" against {theirs} {measure.unit} ({difference}" if theirs else ""
    sure = f"; p = {p})" if p else ")"
    return f"{measure.what}: {ours} {measure.unit}{against}{sure if against else ''}"


def _mean(values: Seeds, measure: Measure) -> str:
    if not values:
        return ""
    return _number(measure.scale * sum(values.values()) / len(values), measure)


def _number(value: float, measure: Measure, sign: str = "") -> str:
    return format(value, f"{sign}.2f" if measure.unit == "%" else f"{sign}.4f")


def _difference(found: Comparison, measure: Measure) -> str:
    if found.difference is None:
        return ""
    ends = found.interval or ()
    told = [_number(measure.scale * value, measure, "+") for value in (found.difference, *ends)]
    return told[0] if len(told) == 1 else f"{told[0]} [{told[1]}, {told[2]}]"


def _p(found: Comparison) -> str:
    return "" if found.p_corrected is None else f"{found.p_corrected:.3g}"
