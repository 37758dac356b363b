"""The figure of accuracy against latency: models in colours, what runs them in symbols."""

from collections.abc import Sequence
from typing import NamedTuple

from kdsweep.plotting.palette import GREY
from kdsweep.report.analysis.statistics import Interval
from kdsweep.report.sections import style
from kdsweep.report.sections.section import Figure
from kdsweep.report.sections.style import COLORS, SYMBOLS, labels, percent


class Point(NamedTuple):
    """One model, as one runtime runs it."""

    model: str  # those of a model have one colour
    runtime: str  # those of a runtime have one symbol
    milliseconds: float
    accuracy: float  # in [0, 1]
    interval: Interval | None  # of the accuracy, in [0, 1]


def tradeoff(points: Sequence[Point]) -> Figure:
    """The figure."""
    figure = style.canvas(height=430)
    models = list(dict.fromkeys(point.model for point in points))
    runtimes = list(dict.fromkeys(point.runtime for point in points))
    symbols = {name: SYMBOLS[n % len(SYMBOLS)] for n, name in enumerate(runtimes)}
    for number, (model, shown) in enumerate(zip(models, labels(models), strict=True)):
        color = COLORS[number % len(COLORS)]
        own = [point for point in points if point.model == model]
        _draw_model(figure, own, shown, color, symbols)
    for runtime, shown in zip(runtimes, labels(runtimes), strict=True):
        figure.add_scatter(
            x=[None],
            y=[None],
            mode="markers",
            name=shown,
            marker={"color": GREY, "symbol": symbols[runtime], "size": 10},
        )
    figure.update_xaxes(type="log", dtick="D2", title_text="latency (ms an image, log scale)")
    figure.update_yaxes(title_text="accuracy (%)")
    return figure


def _draw_model(
    figure: Figure, own: Sequence[Point], name: str, color: str, symbols: dict[str, str]
) -> None:
    y = [percent(point.accuracy) for point in own]
    known = [point.interval or (point.accuracy, point.accuracy) for point in own]
    figure.add_scatter(
        x=[point.milliseconds for point in own],
        y=y,
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [percent(high) - value for (_, high), value in zip(known, y, strict=True)],
            "arrayminus": [value - percent(low) for (low, _), value in zip(known, y, strict=True)],
            "visible": any(point.interval is not None for point in own),
            "color": color,
            "thickness": 1.2,
            "width": 4,
        },
        mode="markers",
        name=name,
        marker={"color": color, "symbol": [symbols[point.runtime] for point in own], "size": 12},
        text=labels([point.runtime for point in own]),
        hovertemplate=f"{name}<br>%{{text}}<br>%{{y:.2f}} % at %{{x:.4g}} ms<extra></extra>",
    )
