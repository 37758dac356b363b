"""Accuracy on validation epoch by epoch, with the band of the seeds."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kdsweep.report.analysis.aggregate import Grid
from kdsweep.report.sections.histories import Curve, curve, runs_of
from kdsweep.report.sections.section import Section
from kdsweep.report.sections.style import (
    OF_BASELINE,
    OF_BEST,
    canvas,
    color_of,
    finished,
    label,
    percent,
    select,
    translucent,
)
from kdsweep.report.sources.collection import RunCollection

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

TITLE = "Learning curves"
MOST_CELLS = 8
KEY = "val/acc"
UNTIL = 0.2  # of the epochs, whose values do not set where the axis begins


def section(collection: RunCollection, grid: Grid) -> Section | None:
    """The curves of at most eight cells; None if nothing was measured on validation."""
    cells = select(grid, MOST_CELLS)
    found = {cell.name: curve(runs_of(collection, cell), KEY) for cell in cells}
    curves = {name: each for name, each in found.items() if each is not None}
    if not curves or max(len(each.epochs) for each in curves.values()) < 2:
        return None
    said = "Mean accuracy on validation over seeds"
    if grid.seeds > 1:
        said += "; the bands of the best cell and of its baseline reach from the lowest seed to"
        said += " the highest one"
    said += ". The vertical axis leaves out the first fifth of the epochs; a double"
    said += " click shows them."
    if (total := len(finished(grid))) > len(curves):
        said += (
            f" {len(curves)} of {total} cells are drawn: the best, its baseline, and others from"
            " all over the ranking."
        )
    return Section(TITLE, [said], figures=[_figure(curves, color_of(grid, cells))])


def _figure(curves: Mapping[str, Curve], colors: Mapping[str, str]) -> "Figure":
    from plotly.graph_objects import Scatter

    figure = canvas(height=440)
    for name, found in curves.items():
        if found.n > 1 and colors[name] in (OF_BEST, OF_BASELINE):
            figure.add_trace(band(found, name, colors[name]))
    for name, found in curves.items():
        leads = colors[name] in (OF_BEST, OF_BASELINE)
        figure.add_trace(
            Scatter(
                x=found.epochs,
                y=[percent(value) for value in found.mean],
                mode="lines",
                name=label(name),
                legendgroup=name,
                line={"color": colors[name], "width": 2.4 if leads else 1.6},
                hovertemplate=f"{label(name)}, epoch %{{x}}: %{{y:.2f}} %<extra></extra>",
            )
        )
    figure.update_xaxes(title_text="epoch")
    figure.update_yaxes(title_text="val/acc (%)", range=axis_range(list(curves.values())))
    return figure


def band(found: Curve, name: str, color: str, **options: Any) -> Any:
    """From the lowest seed to the highest one, as a plotly trace."""
    from plotly.graph_objects import Scatter

    return Scatter(
        x=[*found.epochs, *reversed(found.epochs)],
        y=[percent(value) for value in [*found.high, *reversed(found.low)]],
        mode="lines",
        fill="toself",
        fillcolor=translucent(color, 0.15),
        line={"width": 0},
        hoverinfo="skip",
        showlegend=False,
        legendgroup=name,
        **options,
    )


def axis_range(curves: Sequence[Curve]) -> list[float]:
    """In percent, with room for every mean after the first fifth of the epochs."""
    later = [curve.mean[int(UNTIL * len(curve.epochs)) :] for curve in curves]
    low = percent(min(min(values) for values in later))
    high = percent(max(max(curve.high) for curve in curves))
    margin = 0.04 * (high - low) or 1.0
    return [low - margin, high + margin]
