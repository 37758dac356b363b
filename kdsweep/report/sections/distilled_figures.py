"""The figures on what distillation did, for plotly."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kdsweep.plotting.confusion import MAX_WRITTEN_CLASSES
from kdsweep.plotting.palette import BLUE, GREY, RED
from kdsweep.report.analysis.statistics import Comparison
from kdsweep.report.sections.style import SCALE, canvas, label, labels

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

Array = np.ndarray

DIVERGING = "RdBu_r"  # blue is less, red is more; told apart by every kind of colour vision
LINE = 24  # pixels for each class
WIDEST = 760  # pixels of a matrix with its names


def gains_figure(found: Mapping[str, Comparison], name: str, baseline: str) -> "Figure":
    """Each class's gain with its interval, the largest on top."""
    from plotly.graph_objects import Scatter

    figure = canvas(height=150 + LINE * len(found), titles=["Gain of each class"])
    named = dict(zip(found, labels(list(found)), strict=True))
    for verdict, color, words in (
        ("BEATS", BLUE, "gains"),
        ("LOSES", RED, "loses"),
        (None, GREY, "neither is shown (Holm-corrected)"),
    ):
        shown = {named[c]: one for c, one in found.items() if _kind(one) == verdict}
        if shown:
            figure.add_trace(
                Scatter(
                    x=[100 * (one.difference or 0) for one in shown.values()],
                    y=list(shown),
                    error_x={
                        "array": [_half(one) for one in shown.values()],
                        "thickness": 1.2,
                        "width": 4,
                    },
                    mode="markers",
                    marker={"color": color, "size": 9},
                    name=words,
                    hovertemplate="%{y}: %{x:+.2f} points<extra></extra>",
                )
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
    figure.update_layout(showlegend=True, legend={"y": -60 / (LINE * len(found))})
    return figure


def _kind(found: Comparison) -> str | None:
    return found.verdict if found.verdict in ("BEATS", "LOSES") else None


def _half(found: Comparison) -> float:
    """Of the 95 % interval, in points."""
    return 0.0 if found.interval is None else 50 * (found.interval[1] - found.interval[0])


def confusion_figure(difference: Array, names: Sequence[str]) -> "Figure":
    """Confusion of students minus that of the teacher (C, C), in points of the true class."""
    values = 100 * difference
    # Students much worse than their teacher would leave the rest without colour.
    beside = values[~np.eye(len(values), dtype=bool)]
    largest = float(np.nanmax(np.abs(beside), initial=0)) or 1.0
    options = {"colorscale": DIVERGING, "zmin": -largest, "zmax": largest, "zmid": 0}
    title = "Confusion: students minus teacher"
    return _matrix(
        values,
        names,
        title,
        "points of<br>the true class<br>(diagonal may<br>be off scale)",
        "+.1f",
        options,
    )


def dark_knowledge_figure(dark: Array, names: Sequence[str], T: float) -> "Figure":
    """Mean softened probabilities of the teacher (C, C), the true class left out."""
    values = 100 * dark
    np.fill_diagonal(values, np.nan)
    title = f"Dark knowledge of the teacher at T = {T:g}"
    options = {"colorscale": SCALE, "zmin": 0}
    return _matrix(
        values, names, title, "mean<br>probability (%)<br>true class<br>left out", ".1f", options
    )


def _matrix(
    values: Array, names: Sequence[str], title: str, unit: str, form: str, options: dict[str, Any]
) -> "Figure":
    """A matrix (C, C) with a row for each true class, from the top."""
    from plotly.graph_objects import Heatmap

    side = min(WIDEST, max(360, 130 + 34 * len(names)))
    figure = canvas(height=side + 60, titles=[title])
    shown = labels(names)
    if len(names) <= MAX_WRITTEN_CLASSES:
        options |= {"text": _written(values, form), "texttemplate": "%{text}"}
    figure.add_trace(
        Heatmap(
            z=values,
            x=shown,
            y=shown,
            xgap=1,
            ygap=1,
            hoverongaps=False,
            colorbar={
                "title": {"text": unit, "font": {"size": 12}},
                "thickness": 14,
                "outlinewidth": 0,
            },
            hovertemplate="%{y} as %{x}: %{z:.3g}<extra></extra>",
            **options,
        )
    )
    axis = {"type": "category", "dtick": 1, "showgrid": False, "automargin": True}
    figure.update_xaxes(**axis, title_text="class said")
    figure.update_yaxes(**axis, title_text="true class", autorange="reversed")
    return figure


def _written(values: Array, form: str) -> list[list[str]]:
    """The figures in the boxes; what would read as 0 stays empty."""
    return [
        ["" if np.isnan(v) or abs(v) < 0.05 else format(v, form) for v in row] for row in values
    ]
