"""Accuracy on the training images beside that on validation, and the gap between them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from kdsweep.report.analysis.aggregate import Cell, Grid
from kdsweep.report.sections.histories import Curve, curve, runs_of
from kdsweep.report.sections.learning_curves import UNTIL, axis_range
from kdsweep.report.sections.section import Section
from kdsweep.report.sections.style import baseline_of, canvas, color_of, label, leading, percent
from kdsweep.report.sources.collection import RunCollection

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

TITLE = "Overfitting"

Couple = tuple[Curve, Curve]  # train/acc and val/acc of one cell


def section(collection: RunCollection, grid: Grid) -> Section | None:
    """The curves of the best cell and its baseline; None without validation."""
    first = leading(grid)
    cells = [cell for cell in (first, baseline_of(grid, first)) if cell is not None]
    found = {cell.name: _couple(collection, cell) for cell in cells}
    curves = {name: couple for name, couple in found.items() if couple is not None}
    if not curves or max(len(trained.epochs) for trained, _ in curves.values()) < 2:
        return None
    return Section(
        TITLE,
        [
            f"Training minus validation in the last epoch: {'; '.join(map(_gap, curves.items()))}."
            " train/acc is the mean over an epoch's steps, with augmentation and dropout, if any.",
        ],
        figures=[_figure(curves, color_of(grid, cells))],
    )


def _couple(collection: RunCollection, cell: Cell) -> Couple | None:
    runs = runs_of(collection, cell)
    trained, held_out = curve(runs, "train/acc"), curve(runs, "val/acc")
    return (trained, held_out) if trained and held_out else None


def _gap(told: tuple[str, Couple]) -> str:
    name, (trained, held_out) = told
    return f"{name} {percent(trained.mean[-1] - held_out.mean[-1]):+.2f} points"


def _gaps(trained: Curve, held_out: Curve) -> dict[int, float]:
    """Epoch -> training minus validation, in points."""
    measured = dict(zip(held_out.epochs, held_out.mean, strict=True))
    return {
        epoch: percent(value - measured[epoch])
        for epoch, value in zip(trained.epochs, trained.mean, strict=True)
        if epoch in measured
    }


def _gap_range(curves: Mapping[str, Couple]) -> list[float]:
    """Of what comes after the first fifth of the epochs, in points, with zero."""
    gaps = [list(_gaps(*couple).values()) for couple in curves.values()]
    later = [0.0, *(gap for each in gaps for gap in each[int(UNTIL * len(each)) :])]
    margin = 0.08 * (max(later) - min(later)) or 1.0
    return [min(later) - margin, max(later) + margin]


def _figure(curves: Mapping[str, Couple], colors: Mapping[str, str]) -> "Figure":
    from plotly.graph_objects import Scatter

    figure = canvas(
        1, 2, height=400, titles=["accuracy", "gap: training minus validation"],
        horizontal_spacing=0.1,
    )  # fmt: skip
    for name, (trained, held_out) in curves.items():
        for found, dash, part in ((trained, "dot", "train"), (held_out, "solid", "val")):
            figure.add_trace(
                Scatter(
                    x=found.epochs,
                    y=[percent(value) for value in found.mean],
                    mode="lines",
                    name=f"{label(name)}: {part}/acc",
                    line={"color": colors[name], "width": 2, "dash": dash},
                    hovertemplate="epoch %{x}: %{y:.2f} %",
                ),
                row=1,
                col=1,
            )
        gaps = _gaps(trained, held_out)
        figure.add_trace(
            Scatter(
                x=list(gaps),
                y=list(gaps.values()),
                mode="lines",
                name=label(name),
                showlegend=False,
                line={"color": colors[name], "width": 2},
                hovertemplate="epoch %{x}: %{y:+.2f} points",
            ),
            row=1,
            col=2,
        )
    figure.update_xaxes(title_text="epoch")
    everything = [found for couple in curves.values() for found in couple]
    figure.update_yaxes(title_text="accuracy (%)", range=axis_range(everything), col=1)
    figure.update_yaxes(title_text="gap (points)", range=_gap_range(curves), col=2)
    figure.update_yaxes(zeroline=True, zerolinecolor="#999999", col=2)
    return figure
