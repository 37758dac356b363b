"""What distillation changed class by class, and what the teacher gives to the wrong classes.

C classes. Matrices have a row for each true class.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from kdsweep.plotting.confusion import MAX_WRITTEN_CLASSES
from kdsweep.plotting.palette import BLUE, GREY, RED
from kdsweep.report.analysis.statistics import Comparison, compare
from kdsweep.report.analysis.temperature_scaling import Array, probabilities
from kdsweep.report.formatting import difference, p_value
from kdsweep.report.sections.networks import Pair, distinct, logits_of, predicted_classes
from kdsweep.report.sections.section import Figure, Line, Section, Table
from kdsweep.report.sections.style import SCALE, canvas, label, labels
from kdsweep.tracking.predictions import Predictions

MOST_CLASSES = 40  # of a matrix or a table
NAMED = 3  # in a sentence
NO_BASELINE = "No finished run of the sweep learned from the same labels alone (loss=ce)"
DIVERGING = "RdBu_r"  # blue is less, red is more; distinct for every kind of colour vision
LINE = 24  # pixels for each class
WIDEST = 760  # pixels of a matrix with its names

ClassPair = tuple[int, int]  # true class, predicted class


def gains(pair: Pair) -> dict[int, Comparison]:
    """Class -> its accuracy on test against the baseline's, paired by seed, the largest first.

    Corrected over the classes (Holm). Classes without a test image are left out.
    """
    present = [int(c) for c in np.flatnonzero(pair.counts)]
    after, before = (
        {seed: np.diag(_confusion(predictions[seed], pair)) for seed in pair.seeds}
        for predictions in (pair.students, pair.baseline_students)
    )
    compared = compare(
        {
            str(c): (
                {seed: float(after[seed][c]) for seed in pair.seeds},
                {seed: float(before[seed][c]) for seed in pair.seeds},
            )
            for c in present
        }
    )
    order = sorted(present, key=lambda c: -(compared[str(c)].difference or 0.0))
    return {c: compared[str(c)] for c in order}


def gains_section(pair: Pair) -> Section:
    """Which classes gained and which lost, as sentence, table and figure."""
    if not pair.seeds:
        return Section("", [f"{NO_BASELINE}: what it gained is not known."])
    by_class = gains(pair)
    best, *_, worst = by_class
    counted = "One seed: which class gains by more than the noise of the seeds is not known."
    if len(pair.seeds) > 1:
        verdicts = [one.verdict for one in by_class.values()]
        counted = (
            f"Of {len(by_class)} classes {verdicts.count('BEATS')} gain and"
            f" {verdicts.count('LOSES')} lose against {pair.baseline} by more than the noise of the"
            " seeds (Holm-corrected)."
        )
    text = (
        f"{counted} The mean gains go from {difference(by_class[best])} points"
        f" ({pair.classes[best]}) to {difference(by_class[worst])} ({pair.classes[worst]})."
    )
    shown = by_class
    if len(by_class) > MOST_CLASSES:
        half, every = MOST_CLASSES // 2, list(by_class.items())
        shown = dict(every[:half] + every[-half:])
    lines: list[Line] = [
        (pair.classes[c], str(pair.counts[c]), difference(one), p_value(one.p_corrected, 0))
        for c, one in shown.items()
    ]
    note = (
        f"Accuracy on test of {pair.name} minus that of {pair.baseline}, in points: mean over"
        f" {len(pair.seeds)} seeds with its 95 % interval; p is Holm-corrected over the classes."
        f"{_left_out(len(shown), len(by_class))}"
    )
    table = Table(("class", "images", "gain in points", "p"), lines, note)
    named = {pair.classes[c]: one for c, one in shown.items()}
    return Section("", [text], [table], [_gains_figure(named, pair.name, pair.baseline or "")])


def _left_out(shown: int, number: int) -> str:
    if shown == number:
        return ""
    return f" Of {number} classes the {shown} with the largest changes are shown."


def confusion_difference(pair: Pair) -> Array:
    """Confusion of the students minus that of their teachers, as shares of the true class, (C, C).

    Mean over the seeds; in [-1, 1]. Rows add up to 0; NaN for a class without a test image.
    """
    return _mean(
        _confusion(pair.students[seed], pair) - _confusion(teacher, pair)
        for seed, teacher in pair.teachers.items()
    )


def dark_knowledge(pair: Pair) -> Array:
    """Mean prediction of the teacher for the images of a class: mean softmax(z / T), (C, C).

    NaN for a class without a test image.
    """
    size, matrices = len(pair.classes), []
    for teacher in distinct(pair.teachers.values()):
        total = np.zeros((size, size))
        np.add.at(total, pair.labels, probabilities(logits_of(teacher), pair.T))
        matrices.append(_per_image(total, pair))
    return _mean(matrices)


def _mean(matrices: Iterable[Array]) -> Array:
    mean: Array = np.stack(list(matrices)).mean(axis=0)
    return mean


def _confusion(predictions: Predictions, pair: Pair) -> Array:
    """Shares of the true class, (C, C): the accuracy of each class is on the diagonal."""
    size = len(pair.classes)
    places = pair.labels * size + predicted_classes(predictions)
    return _per_image(np.bincount(places, minlength=size * size).reshape(size, size), pair)


def _per_image(sums: Array, pair: Pair) -> Array:
    """Rows of sums (C, C), divided by the images of their class."""
    counts = pair.counts[:, None]
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def matrices_section(pair: Pair) -> Section:
    """The confusion compared with the teacher's, and the teacher's dark knowledge."""
    if not pair.teachers:
        return Section("", [])
    confusion, dark = confusion_difference(pair), dark_knowledge(pair)
    change = np.nan_to_num(np.abs(confusion))
    most_changed = np.argsort(-(change.sum(axis=0) + change.sum(axis=1)), kind="stable")
    chosen = sorted(int(c) for c in most_changed[:MOST_CLASSES])
    names = [pair.classes[c] for c in chosen]
    inside = np.ix_(chosen, chosen)
    sentences = [_of_confusion(confusion, pair), _of_dark_knowledge(dark, pair)]
    if left_out := _left_out(len(chosen), len(pair.classes)):
        sentences.append(f"Matrices:{left_out}")
    changes, off = 100 * confusion[inside], ~np.eye(len(names), dtype=bool)
    # Students much worse than their teacher would leave the rest without colour.
    largest = float(np.nanmax(np.abs(changes[off]), initial=0)) or 1.0
    title = "Confusion: students minus teacher"
    unit = "points of<br>the true class<br>(diagonal may<br>be off scale)"
    colors = {"colorscale": DIVERGING, "zmin": -largest, "zmax": largest, "zmid": 0}
    figures = [_matrix(changes, names, title, unit, "+.1f", colors)]
    soft = np.where(off, 100 * dark[inside], np.nan)
    title = f"Dark knowledge of the teacher at T = {pair.T:g}"
    unit = "mean<br>probability (%)<br>true class<br>left out"
    figures.append(_matrix(soft, names, title, unit, ".1f", {"colorscale": SCALE, "zmin": 0}))
    return Section("", sentences, figures=figures)


def _of_confusion(confusion: Array, pair: Pair) -> str:
    off, parts = _off_diagonal(confusion), []
    for often, places in (("more", _largest(off)), ("less", _largest(-off))):
        if places:
            sizes = [f"{100 * off[place]:+.1f} points" for place in places]
            parts.append(f"{often} often predict {_named(places, pair, sizes)}")
    if not parts:
        return "The students confuse the same classes as their teacher, and as often."
    return f"Compared with their teacher, the students {' and '.join(parts)}."


def _of_dark_knowledge(dark: Array, pair: Pair) -> str:
    off = _off_diagonal(dark)
    places = _largest(off)
    named = _named(places, pair, [f"{100 * off[place]:.2g} %" for place in places])
    true = float(np.nanmean(np.diag(dark)))
    return (
        f"At T = {pair.T:g} the teacher gives {100 * true:.1f} % to the true class of a test image,"
        f" on average over the classes; its largest other probabilities are {named}."
    )


def _named(places: Sequence[ClassPair], pair: Pair, sizes: Sequence[str]) -> str:
    """`8 for 3 (+1.8 points)`: the predicted class, and the true one."""
    return ", ".join(
        f"{pair.classes[column]} for {pair.classes[row]} ({size})"
        for (row, column), size in zip(places, sizes, strict=True)
    )


def _off_diagonal(matrix: Array) -> Array:
    off: Array = np.nan_to_num(matrix)
    np.fill_diagonal(off, 0)
    return off


def _largest(matrix: Array) -> list[ClassPair]:
    """Places of the largest positive values, the largest first."""
    places = np.argsort(-matrix, axis=None, kind="stable")[:NAMED]
    rows, columns = np.unravel_index(places, matrix.shape)
    every = zip(rows.tolist(), columns.tolist(), strict=True)
    return [(row, column) for row, column in every if matrix[row, column] > 0]


def _gains_figure(by_class: Mapping[str, Comparison], name: str, baseline: str) -> Figure:
    """Each class's gain with its interval, the largest on top."""
    figure = canvas(height=150 + LINE * len(by_class), titles=["Gain of each class"])
    named = dict(zip(by_class, labels(list(by_class)), strict=True))
    kinds = {"BEATS": (BLUE, "gains"), "LOSES": (RED, "loses")}
    neither = (GREY, "neither is shown (Holm-corrected)")
    for color, words in (*kinds.values(), neither):
        shown = {
            named[c]: one
            for c, one in by_class.items()
            if kinds.get(one.verdict or "", neither) == (color, words)
        }
        if shown:
            ends = [one.interval or (0.0, 0.0) for one in shown.values()]
            widths = [50 * (high - low) for low, high in ends]
            figure.add_scatter(
                x=[100 * (one.difference or 0) for one in shown.values()],
                y=list(shown),
                error_x={"array": widths, "thickness": 1.2, "width": 4},
                mode="markers",
                marker={"color": color, "size": 9},
                name=words,
                hovertemplate="%{y}: %{x:+.2f} points<extra></extra>",
            )
    figure.add_vline(x=0, line={"color": GREY, "dash": "dot", "width": 1})
    figure.update_xaxes(
        title_text=f"accuracy on test of {label(name)} minus {label(baseline)} (points)"
    )
    figure.update_yaxes(
        type="category",
        categoryorder="array",
        categoryarray=list(named.values())[::-1],
        dtick=1,
        title_text="class",
        automargin=True,
    )
    figure.update_layout(showlegend=True, legend={"y": -60 / (LINE * len(by_class))})
    return figure


def _matrix(
    values: Array, names: Sequence[str], title: str, unit: str, form: str, options: dict[str, Any]
) -> Figure:
    """A matrix (C, C) with a row for each true class, from the top."""
    side = min(WIDEST, max(360, 130 + 34 * len(names)))
    figure = canvas(height=side + 60, titles=[title])
    shown = labels(names)
    if len(names) <= MAX_WRITTEN_CLASSES:  # figures that would read as 0 are left out
        texts = [
            ["" if np.isnan(v) or abs(v) < 0.05 else format(v, form) for v in row] for row in values
        ]
        options |= {"text": texts, "texttemplate": "%{text}"}
    bar = {"title": {"text": unit, "font": {"size": 12}}, "thickness": 14, "outlinewidth": 0}
    figure.add_heatmap(
        z=values,
        x=shown,
        y=shown,
        xgap=1,
        ygap=1,
        hoverongaps=False,
        colorbar=bar,
        hovertemplate="%{y} as %{x}: %{z:.3g}<extra></extra>",
        **options,
    )
    axis = {"type": "category", "dtick": 1, "showgrid": False, "automargin": True}
    figure.update_xaxes(**axis, title_text="predicted class")
    figure.update_yaxes(**axis, title_text="true class", autorange="reversed")
    return figure
