"""Accuracy against latency."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from kdsweep.common.text import shorten
from kdsweep.plotting.drawing import new_figure, save_with_title
from kdsweep.plotting.palette import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY

COLORS = (BLUE, ORANGE, GREEN, PURPLE, SKY, RED, GREY)
MARKERS = "osD^vP*"
NAME_LETTERS = 40


class TradeoffPoint(NamedTuple):
    """One model, as one runtime runs it."""

    model: str  # those of a model have one colour
    runtime: str  # those of a runtime have one marker
    milliseconds: float
    accuracy: float  # in [0, 1]


def draw_tradeoff(points: Sequence[TradeoffPoint], path: Path, title: str = "") -> None:
    """Draw the accuracy of models against the time of one image, on a logarithmic scale."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    models = list(dict.fromkeys(point.model for point in points))
    runtimes = list(dict.fromkeys(point.runtime for point in points))
    figure = new_figure(8.5, 4.8)
    axes = figure.subplots()
    for model_number, model in enumerate(models):
        color = COLORS[model_number % len(COLORS)]
        own = [point for point in points if point.model == model]
        x, y = [one.milliseconds for one in own], [100 * one.accuracy for one in own]
        axes.plot(x, y, color=color, linewidth=0.8, alpha=0.5)
        axes.plot([], [], color=color, linewidth=3, label=shorten(model, NAME_LETTERS))
        for point in own:
            marker = MARKERS[runtimes.index(point.runtime) % len(MARKERS)]
            axes.plot(
                point.milliseconds, 100 * point.accuracy, color=color, marker=marker, markersize=8
            )
    for number, runtime in enumerate(runtimes):
        marker = MARKERS[number % len(MARKERS)]
        axes.plot([], [], color=GREY, marker=marker, linestyle="none", label=runtime)
    axes.set(xlabel="latency of one image (ms)", ylabel="test accuracy (%)", xscale="log")
    # Powers of ten alone would leave an axis of less than a decade without numbers.
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    save_with_title(figure, path, title)
