"""Learning curves of one run."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kdsweep.plotting.drawing import new_figure, save_with_title
from kdsweep.plotting.palette import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY
from kdsweep.tracking.run_dir import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_curves(rows: Sequence[Row], path: Path, title: str = "") -> None:
    """Draw accuracy, loss and learning rate against the epoch (rows of metrics.jsonl)."""
    from matplotlib.ticker import MaxNLocator

    names = dict.fromkeys(key for row in rows for key in row["metrics"])
    has_rate = "lr" in names
    figure = new_figure(14 if has_rate else 9.5, 3.8)
    panels = figure.subplots(1, 3 if has_rate else 2)
    _draw_accuracy(panels[0], rows)
    _draw_loss(panels[1], rows, names)
    if has_rate:
        _draw_line(panels[2], rows, "lr", color=BLUE)
        panels[2].set(title="Learning rate", ylabel="learning rate")
    for panel in panels:
        panel.set_xlabel("epoch")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    save_with_title(figure, path, title)


def _draw_accuracy(axes: "Axes", rows: Sequence[Row]) -> None:
    _draw_line(axes, rows, "train/acc", scale=100, color=SKY)
    _draw_line(axes, rows, "val/acc", scale=100, color=BLUE)
    _draw_line(axes, rows, "val/agreement", scale=100, color=GREEN, linestyle=":")
    _draw_line(axes, rows, "test/acc", scale=100, color=RED, marker="D", linestyle="none")
    axes.set(title="Accuracy", ylabel="accuracy (%)")
    _legend(axes, "lower right")


def _draw_loss(axes: "Axes", rows: Sequence[Row], names: Iterable[str]) -> None:
    terms = [name for name in names if name.startswith("train/")]
    terms = [name for name in terms if name not in ("train/loss", "train/acc")]
    _draw_line(axes, rows, "train/loss", color=SKY)
    _draw_line(axes, rows, "val/loss", color=BLUE)
    for number, name in enumerate(terms):
        color = (ORANGE, PURPLE, GREEN, GREY)[number % 4]
        _draw_line(axes, rows, name, color=color, linestyle="--", linewidth=1)
    axes.set(title="Loss (terms unscaled)", ylabel="loss (mean per image)")
    _legend(axes, "upper right")


def _draw_line(
    axes: "Axes", rows: Sequence[Row], key: str, *, scale: float = 1, **style: Any
) -> None:
    points = [(row["epoch"], row["metrics"][key]) for row in rows if key in row["metrics"]]
    if not points:
        return
    epochs = [epoch for epoch, _ in points]
    values = [math.nan if value is None else scale * value for _, value in points]
    marker = "o" if len(points) == 1 else None  # a line of one point would be invisible
    axes.plot(epochs, values, **{"label": key, "marker": marker} | style)


def _legend(axes: "Axes", place: Literal["lower right", "upper right"]) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc=place, fontsize=8, framealpha=0.8)
