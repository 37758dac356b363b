"""Accuracy on validation epoch by epoch, with the band of the seeds.

Histories are files of their own: they are read for the cells that are drawn, and for no others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from kdsweep.report.analysis.aggregate import Grid
from kdsweep.report.sections import style
from kdsweep.report.sections.section import Figure, Section
from kdsweep.report.sections.style import OF_BASELINE, OF_BEST, percent
from kdsweep.report.sources.collection import Run, RunCollection

TITLE = "Learning curves"
MOST_CELLS = 8
KEY = "val/acc"
UNTIL = 0.2  # of the epochs, whose values do not set where the axis begins


@dataclass(frozen=True)
class Curve:
    """One metric of a cell; all lists go with ``epochs``."""

    epochs: list[int]
    mean: list[float]  # over the seeds that reached the epoch
    low: list[float]
    high: list[float]
    n: int  # seeds


def curve(runs: Sequence[Run], key: str) -> Curve | None:
    """A metric over epochs, None if no run has it; values that are not finite are left out."""
    values: dict[int, list[float]] = {}
    for run in runs:
        for row in run.history:
            if (value := row["metrics"].get(key)) is not None:
                values.setdefault(row["epoch"], []).append(float(value))
    if not values:
        return None
    epochs = sorted(values)
    return Curve(
        epochs,
        [fmean(values[epoch]) for epoch in epochs],
        [min(values[epoch]) for epoch in epochs],
        [max(values[epoch]) for epoch in epochs],
        max(map(len, values.values())),
    )


def section(collection: RunCollection, grid: Grid) -> Section | None:
    """The curves of at most eight cells; None if nothing was measured on validation."""
    cells = style.select(grid, MOST_CELLS)
    measured = {cell.name: curve(collection.finished_runs(cell.name), KEY) for cell in cells}
    curves = {name: each for name, each in measured.items() if each is not None}
    if not curves or max(len(each.epochs) for each in curves.values()) < 2:
        return None
    text = "Mean accuracy on validation over seeds"
    if grid.seeds > 1:
        text += "; the bands of the best cell and of its baseline reach from the lowest seed to"
        text += " the highest one"
    text += ". The vertical axis leaves out the first fifth of the epochs; a double"
    text += " click shows them."
    if (total := len(grid.finished)) > len(curves):
        text += (
            f" {len(curves)} of {total} cells are drawn: the best, its baseline, and others from"
            " all over the ranking."
        )
    return Section(TITLE, [text], figures=[_figure(curves, style.color_of(grid, cells))])


def _figure(curves: Mapping[str, Curve], colors: Mapping[str, str]) -> Figure:
    figure = style.canvas(height=440)
    leading = [name for name in curves if colors[name] in (OF_BEST, OF_BASELINE)]
    for name in leading:
        if (drawn := curves[name]).n > 1:
            band = (drawn.epochs, drawn.low, drawn.high, colors[name])
            style.draw_band(figure, *band, legendgroup=name)
    for name, drawn in curves.items():
        text = style.label(name)
        style.draw_line(
            figure,
            drawn.epochs,
            drawn.mean,
            {"color": colors[name], "width": 2.4 if name in leading else 1.6},
            name=text,
            legendgroup=name,
            hovertemplate=f"{text}, epoch %{{x}}: %{{y:.2f}} %<extra></extra>",
        )
    figure.update_xaxes(title_text="epoch")
    figure.update_yaxes(title_text="val/acc (%)", range=axis_range(list(curves.values())))
    return figure


def axis_range(curves: Sequence[Curve]) -> list[float]:
    """In percent, with room for every mean after the first fifth of the epochs."""
    later = [curve.mean[int(UNTIL * len(curve.epochs)) :] for curve in curves]
    low = percent(min(min(values) for values in later))
    high = percent(max(max(curve.high) for curve in curves))
    margin = 0.04 * (high - low) or 1.0
    return [low - margin, high + margin]
