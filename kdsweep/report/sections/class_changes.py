"""What distillation changed class by class, and what the teacher tells beside the true class.

C classes. Matrices have a row for each true class.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from kdsweep.report.analysis.statistics import Comparison, compare
from kdsweep.report.analysis.temperature_scaling import probabilities
from kdsweep.report.analysis.verdicts import points
from kdsweep.report.sections.distilled_figures import (
    confusion_figure,
    dark_knowledge_figure,
    gains_figure,
)
from kdsweep.report.sections.networks import distinct
from kdsweep.report.sections.paired_predictions import (
    Array,
    Pair,
    logits_of,
    predicted,
    right_answers,
)
from kdsweep.report.sections.section import Line, Section, Table
from kdsweep.tracking.predictions import Predictions

MOST_CLASSES = 40  # of a matrix or a table
NAMED = 3  # in a sentence

Place = tuple[int, int]  # true class, class said


def gains(pair: Pair) -> dict[int, Comparison]:
    """Class -> its accuracy on test against the baseline's, paired by seed, the largest first.

    Corrected over the classes (Holm). Classes without a test image are left out.
    """
    present = [int(c) for c in np.flatnonzero(pair.counts)]
    ours, theirs = (
        {seed: _by_class(answers[seed], pair) for seed in pair.seeds}
        for answers in (pair.ours, pair.theirs)
    )
    found = compare(
        {
            str(c): (
                {seed: float(ours[seed][c]) for seed in pair.seeds},
                {seed: float(theirs[seed][c]) for seed in pair.seeds},
            )
            for c in present
        }
    )
    return {c: found[str(c)] for c in sorted(present, key=lambda c: -_gain(found[str(c)]))}


def _by_class(answers: Predictions, pair: Pair) -> Array:
    """Accuracy of each class, (C,); NaN without a test image."""
    right = np.bincount(pair.labels, right_answers(answers), minlength=len(pair.classes))
    return np.where(pair.counts > 0, right / np.maximum(pair.counts, 1), np.nan)


def _gain(found: Comparison) -> float:
    return found.difference or 0.0


def tell_gains(pair: Pair) -> Section:
    """Which classes gained and which lost, as sentence, table and figure."""
    if not pair.seeds:
        return Section("", [f"{NO_BASELINE}: what it gained is not known."])
    found = gains(pair)
    best, *_, worst = found
    said = (
        f"{_how_many(found, pair)} The mean gains go from {points(found[best])} points"
        f" ({pair.classes[best]}) to {points(found[worst])} ({pair.classes[worst]})."
    )
    shown = _ends(found)
    lines: list[Line] = [
        (pair.classes[c], str(pair.counts[c]), points(one), _p(one)) for c, one in shown.items()
    ]
    note = (
        f"Accuracy on test of {pair.name} minus that of {pair.baseline}, in points: mean over"
        f" {len(pair.seeds)} seeds with its 95 % interval; p is Holm-corrected over the classes."
        f"{_left_out(len(shown), len(found))}"
    )
    table = Table(("class", "images", "gain in points", "p"), lines, note)
    named = {pair.classes[c]: one for c, one in shown.items()}
    return Section("", [said], [table], [gains_figure(named, pair.name, pair.baseline or "")])


def _how_many(found: Mapping[int, Comparison], pair: Pair) -> str:
    """How many classes gain and lose, as far as that can be known."""
    if len(pair.seeds) < 2:
        return "One seed: which class gains by more than the noise of the seeds is not known."
    verdicts = [one.verdict for one in found.values()]
    return (
        f"Of {len(found)} classes {verdicts.count('BEATS')} gain and {verdicts.count('LOSES')} lose"
        f" against {pair.baseline} by more than the noise of the seeds (Holm-corrected)."
    )


NO_BASELINE = "No finished run of the sweep learned from the same labels alone (loss=ce)"


def _ends(found: Mapping[int, Comparison]) -> dict[int, Comparison]:
    """The largest gains and the largest losses, if there are too many classes for all."""
    if len(found) <= MOST_CLASSES:
        return dict(found)
    half, every = MOST_CLASSES // 2, list(found.items())
    return dict(every[:half] + every[-half:])


def _left_out(shown: int, number: int) -> str:
    if shown == number:
        return ""
    return f" Of {number} classes the {shown} with the largest changes are shown."


def _p(found: Comparison) -> str:
    return "" if found.p_corrected is None else f"{found.p_corrected:.3g}"


def confusion_difference(pair: Pair) -> Array:
    """Confusion of the students minus that of their teachers, as shares of the true class, (C, C).

    Mean over the seeds; in [-1, 1]. Rows add up to 0; NaN for a class without a test image.
    """
    return _mean(
        _confusion(pair.ours[seed], pair) - _confusion(teacher, pair)
        for seed, teacher in pair.teachers.items()
    )


def _mean(matrices: Iterable[Array]) -> Array:
    found: Array = np.stack(list(matrices)).mean(axis=0)
    return found


def _confusion(answers: Predictions, pair: Pair) -> Array:
    size = len(pair.classes)
    counts = np.bincount(pair.labels * size + predicted(answers), minlength=size * size)
    totals = pair.counts[:, None]
    return np.where(totals > 0, counts.reshape(size, size) / np.maximum(totals, 1), np.nan)


def dark_knowledge(pair: Pair) -> Array:
    """What the teacher says on average of the images of a class: mean softmax(z / T), (C, C).

    NaN for a class without a test image.
    """
    teachers = distinct(list(pair.teachers.values()))
    return _mean(_mean_by_class(teacher, pair) for teacher in teachers)


def _mean_by_class(answers: Predictions, pair: Pair) -> Array:
    size = len(pair.classes)
    total = np.zeros((size, size))
    np.add.at(total, pair.labels, probabilities(logits_of(answers), pair.T))
    counts = pair.counts[:, None]
    return np.where(counts > 0, total / np.maximum(counts, 1), np.nan)


def tell_matrices(pair: Pair) -> Section:
    """The confusion beside the teacher's, and the teacher's dark knowledge."""
    if not pair.teachers:
        return Section("", [])
    difference, dark = confusion_difference(pair), dark_knowledge(pair)
    chosen = _most_changed(difference)
    names = [pair.classes[c] for c in chosen]
    inside = np.ix_(chosen, chosen)
    said = [_said_of_confusion(difference, pair), _said_of_dark(dark, pair)]
    if left_out := _left_out(len(chosen), len(pair.classes)):
        said.append(f"Matrices:{left_out}")
    figures = [
        confusion_figure(difference[inside], names),
        dark_knowledge_figure(dark[inside], names, pair.T),
    ]
    return Section("", said, figures=figures)


def _most_changed(difference: Array) -> list[int]:
    """The classes with the largest changes, in their order."""
    change = np.nan_to_num(np.abs(difference))
    largest = np.argsort(-(change.sum(axis=0) + change.sum(axis=1)), kind="stable")
    return sorted(int(c) for c in largest[:MOST_CLASSES])


def _said_of_confusion(difference: Array, pair: Pair) -> str:
    off = _off_diagonal(difference)
    more, less = _largest(off), _largest(-off)
    if not more and not less:
        return "The students confuse the same classes as their teacher, and as often."

    def told(places: Sequence[Place]) -> str:
        return _told(places, pair, [f"{100 * off[place]:+.1f} points" for place in places])

    parts = [f"{often} often {told(at)}" for often, at in (("more", more), ("less", less)) if at]
    return f"Compared with their teacher, the students say {' and '.join(parts)}."


def _said_of_dark(dark: Array, pair: Pair) -> str:
    off = _off_diagonal(dark)
    places = _largest(off)
    told = _told(places, pair, [f"{100 * off[place]:.2g} %" for place in places])
    true = float(np.nanmean(np.diag(dark)))
    return (
        f"At T = {pair.T:g} the teacher gives {100 * true:.1f} % to the true class of a test image,"
        f" on average over the classes; beside that it says most of all {told}."
    )


def _told(places: Sequence[Place], pair: Pair, sizes: Sequence[str]) -> str:
    """`8 for 3 (+1.8 points)`: what is said, and of what."""
    return ", ".join(
        f"{pair.classes[column]} for {pair.classes[row]} ({size})"
        for (row, column), size in zip(places, sizes, strict=True)
    )


def _off_diagonal(matrix: Array) -> Array:
    found: Array = np.nan_to_num(matrix)
    np.fill_diagonal(found, 0)
    return found


def _largest(matrix: Array) -> list[Place]:
    """Places of the largest positive values, the largest first."""
    places = np.argsort(-matrix, axis=None, kind="stable")[:NAMED]
    rows, columns = np.unravel_index(places, matrix.shape)
    every = zip(rows.tolist(), columns.tolist(), strict=True)
    return [(row, column) for row, column in every if matrix[row, column] > 0]
