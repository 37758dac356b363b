"""Accuracy on the training images and on validation, and the gap between them."""

from collections.abc import Mapping
from typing import NamedTuple

from kdsweep.report.analysis.aggregate import Grid
from kdsweep.report.sections.learning_curves import UNTIL, Curve, axis_range, curve
from kdsweep.report.sections.section import Figure, Section
from kdsweep.report.sections.style import canvas, color_of, draw_line, label, percent
from kdsweep.report.sources.collection import RunCollection

TITLE = "Overfitting"


class Curves(NamedTuple):
    """Accuracy of one cell."""

    train: Curve
    val: Curve

    @property
    def gaps(self) -> dict[int, float]:
        """Epoch -> training minus validation, a fraction."""
        val = dict(zip(self.val.epochs, self.val.mean, strict=True))
        train = zip(self.train.epochs, self.train.mean, strict=True)
        return {epoch: value - val[epoch] for epoch, value in train if epoch in val}


def section(collection: RunCollection, grid: Grid) -> Section | None:
    """The curves of the best cell and its baseline; None without validation."""
    first = grid.leading
    cells = [cell for cell in (first, grid.baseline_of(first)) if cell is not None]
    curves = {}
    for cell in cells:
        runs = collection.finished_runs(cell.name)
        train, val = curve(runs, "train/acc"), curve(runs, "val/acc")
        if train and val:
            curves[cell.name] = Curves(train, val)
    if not curves or max(len(each.train.epochs) for each in curves.values()) < 2:
        return None
    gaps = [
        f"{name} {percent(each.train.mean[-1] - each.val.mean[-1]):+.2f} points"
        for name, each in curves.items()
    ]
    text = (
        f"Training minus validation in the last epoch: {'; '.join(gaps)}. train/acc is the mean"
        " over an epoch's steps, with augmentation and dropout, if any."
    )
    return Section(TITLE, [text], figures=[_figure(curves, color_of(grid, cells))])


def _figure(curves: Mapping[str, Curves], colors: Mapping[str, str]) -> Figure:
    titles = ["accuracy", "gap: training minus validation"]
    figure = canvas(1, 2, height=400, titles=titles, horizontal_spacing=0.1)
    for name, each in curves.items():
        for part, dash in (("train", "dot"), ("val", "solid")):
            drawn: Curve = getattr(each, part)
            line = {"color": colors[name], "width": 2, "dash": dash}
            text, hover = f"{label(name)}: {part}/acc", "epoch %{x}: %{y:.2f} %"
            draw_line(figure, drawn.epochs, drawn.mean, line, name=text, hovertemplate=hover)
        line, hover = {"color": colors[name], "width": 2}, "epoch %{x}: %{y:+.2f} points"
        options = {"name": label(name), "showlegend": False, "hovertemplate": hover}
        draw_line(figure, list(each.gaps), list(each.gaps.values()), line, column=2, **options)
    figure.update_xaxes(title_text="epoch")
    drawn_curves = [part for each in curves.values() for part in each]
    figure.update_yaxes(title_text="accuracy (%)", range=axis_range(drawn_curves), col=1)
    later = [0.0]  # the gaps after the first fifth of the epochs, and zero, set the axis
    for each in curves.values():
        gaps = [percent(gap) for gap in each.gaps.values()]
        later += gaps[int(UNTIL * len(gaps)) :]
    margin = 0.08 * (max(later) - min(later)) or 1.0
    gap_range = [min(later) - margin, max(later) + margin]
    figure.update_yaxes(title_text="gap (points)", range=gap_range, col=2)
    figure.update_yaxes(zeroline=True, zerolinecolor="#999999", col=2)
    return figure
