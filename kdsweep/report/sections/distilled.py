"""What distillation did to the students: what they took over from the teacher, and at what price.

The best distilled cell is compared with its baseline, the cell that learned from labels alone, seed
by seed, on test.
"""

from collections.abc import Callable, Mapping
from statistics import fmean
from typing import NamedTuple

import numpy as np

from kdsweep.report.analysis.aggregate import Grid
from kdsweep.report.analysis.statistics import Seeds, compare
from kdsweep.report.analysis.temperature_scaling import log_probabilities
from kdsweep.report.formatting import difference, p_value
from kdsweep.report.sections.class_changes import gains_section, matrices_section
from kdsweep.report.sections.networks import (
    Pair,
    correct_predictions,
    labels_of,
    logits_of,
    pair,
    predicted_classes,
)
from kdsweep.report.sections.prediction_flips import flips_section
from kdsweep.report.sections.section import Section, Table
from kdsweep.report.sources.collection import RunCollection
from kdsweep.tracking.predictions import Predictions

TITLE = "What distillation did"
NOT_KEPT = "No predictions were kept (tracking.answers=false): what distillation did is not known."
NOT_CHOSEN = (
    "Nothing was held out to choose by (dataset.val_fraction=0): no cell is looked at closely."
)


def section(collection: RunCollection, grid: Grid) -> Section | None:
    """The best distilled cell; None where no cell that learned from a teacher has finished.

    Writes `fixed_and_broken.png` into the folder of the report.
    """
    taught = [cell for cell in grid.finished if cell.rows[0]["teacher"] is not None]
    if not taught:
        return None
    if grid.best is None and len(taught) > 1:
        return Section(TITLE, [NOT_CHOSEN])
    cell = taught[0]
    baseline = grid.baselines.get(cell.name)
    distilled = pair(collection, cell, baseline)
    if not distilled.students:
        return Section(TITLE, [NOT_KEPT])
    first = "the best cell" if cell.is_best else "the best cell that learned from a teacher"
    against = "" if baseline is None else f", against {baseline}, its baseline"
    subject = f"This is about {cell.name}, {first}{against}; on test, seed by seed."
    parts = [
        Section(TITLE, [subject]),
        _likeness(distilled),
        gains_section(distilled),
        flips_section(distilled, collection.folder, collection.load),
        matrices_section(distilled),
    ]
    return Section(
        TITLE,
        [sentence for part in parts for sentence in part.sentences],
        [table for part in parts for table in part.tables],
        [figure for part in parts for figure in part.figures],
        [picture for part in parts for picture in part.pictures],
    )


def agreement(student: Predictions, teacher: Predictions) -> float:
    """Share of the test images for which both predict the same class, in [0, 1]."""
    return float(np.mean(predicted_classes(student) == predicted_classes(teacher)))


def repeated_mistakes(student: Predictions, teacher: Predictions) -> float:
    """Share of the teacher's wrong predictions on test that the student repeats, in [0, 1]."""
    wrong = predicted_classes(teacher) != labels_of(teacher)
    return float(np.mean(predicted_classes(student)[wrong] == predicted_classes(teacher)[wrong]))


def divergence(student: Predictions, teacher: Predictions) -> float:
    """KL(teacher || student) at T = 1, in nats per test image."""
    log_p, log_q = (log_probabilities(logits_of(network)) for network in (teacher, student))
    return float((np.exp(log_p) * (log_p - log_q)).sum(axis=1).mean())


class Measure(NamedTuple):
    """A measure of how alike a student and its teacher are on test."""

    name: str
    of: Callable[[Predictions, Predictions], float]
    unit: str
    scale: float = 100  # from what is computed to the unit
    form: str = ".2f"

    def by_seed(
        self, students: Mapping[int, Predictions], teachers: Mapping[int, Predictions]
    ) -> Seeds:
        """Seed -> value."""
        return {
            seed: self.of(students[seed], teacher)
            for seed, teacher in teachers.items()
            if seed in students
        }


AGREEMENT = Measure("agreement with the teacher", agreement, "%")
MISTAKES = Measure("mistakes of the teacher that are repeated", repeated_mistakes, "%")
DIVERGENCE = Measure("KL divergence from the teacher", divergence, "nats", 1, ".4f")


def _likeness(pair: Pair) -> Section:
    """How like its teacher each student has become."""
    if not pair.teachers:
        return Section(TITLE, ["The predictions of its teacher were not kept."])
    errs = all(not correct_predictions(teacher).all() for teacher in pair.teachers.values())
    measures = [AGREEMENT, *([MISTAKES] if errs else []), DIVERGENCE]
    values = {
        measure.name: (
            measure.by_seed(pair.students, pair.teachers),
            measure.by_seed(pair.baseline_students, pair.teachers),
        )
        for measure in measures
    }
    compared = compare(values)
    lines, texts = [], []
    for measure in measures:
        distilled, baseline = (
            format(measure.scale * fmean(each.values()), measure.form) if each else ""
            for each in values[measure.name]
        )
        change = difference(compared[measure.name], f"+{measure.form}", measure.scale)
        p = p_value(compared[measure.name].p_corrected, 0)
        lines.append((f"{measure.name} ({measure.unit})", distilled, baseline, change, p))
        text = f"{measure.name}: {distilled} {measure.unit}"
        if baseline:
            text += f" against {baseline} {measure.unit} ({change}{f'; p = {p}' if p else ''})"
        texts.append(text)
    note = (
        "Means over the seeds, on test; KL(teacher || student) at T = 1. The difference has its"
        " 95 % interval; p: paired t-test over the shared seeds, Holm-corrected over the rows."
    )
    header = ("likeness", pair.name, pair.baseline or "no baseline", "difference", "p")
    sentence = f"Likeness to the teacher: {'; '.join(texts)}."
    return Section(TITLE, [sentence], [Table(header, lines, note)])
