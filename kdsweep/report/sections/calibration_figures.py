"""The figures on calibration, for plotly."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from statsmodels.stats.proportion import proportion_confint

from kdsweep.plotting.palette import BLUE, GREY, ORANGE, RED
from kdsweep.report.analysis.aggregate import Cell
from kdsweep.report.analysis.statistics import Summary
from kdsweep.report.analysis.temperature_scaling import Bin, mean_nll, reliability
from kdsweep.report.sections.networks import Network, of
from kdsweep.report.sections.style import canvas

POINTS = 60  # of the curve of NLL
MAX_PANELS = 3
LARGEST, SMALLEST = 18, 5  # markers, in pixels
FEWEST = 5  # images of a bin that is drawn


def question_figure(teacher: Network, best: Mapping[float, Cell]) -> go.Figure:
    """The teacher's NLL over T, above what each T taught: both over the same log axis.

    Args:
        teacher: with a calibrated T.
        best: T -> the cell of it that came first on validation.
    """
    figure = canvas(
        2,
        height=560,
        titles=(
            f"{teacher.name}: NLL on validation",
            "Best cell of each T: accuracy on test",
        ),
        shared_xaxes=True,
        vertical_spacing=0.09,
    )
    low, high = teacher.interval or (teacher.T, teacher.T)
    ends = [*best, teacher.T, *(end for end in (low, high) if 0 < end < math.inf)]
    left, right = min(ends) / 1.5, max(ends) * 1.5
    grid = np.geomspace(left, right, POINTS)
    nll = np.mean(
        [mean_nll(*of(found, "val"), grid.tolist()) for found, _ in teacher.fitted], axis=0
    )
    curve = go.Scatter(x=grid, y=nll, mode="lines", line_color=BLUE, showlegend=False)
    figure.add_trace(curve, row=1, col=1)
    for tied, color, name in (
        (True, ORANGE, "the best cell, or tied with it (bars: 95 % interval of the mean)"),
        (False, GREY, "worse than the best cell"),
    ):
        shown = {T: c.test for T, c in best.items() if c.is_tied_with_best is tied and c.test}
        if shown:
            figure.add_trace(_accuracies(shown, color, name), row=2, col=1)
    figure.add_vrect(
        x0=max(low, left), x1=min(high, right), fillcolor=BLUE, opacity=0.12, line_width=0
    )
    figure.add_vline(x=teacher.T, line={"color": BLUE, "dash": "dash", "width": 1.5})
    figure.add_annotation(
        x=math.log10(teacher.T),
        y=1,
        yref="y domain",
        text=f" calibrated T = {teacher.T_with_interval}",
        showarrow=False,
        xanchor="left",
        yanchor="top",
        font_color=BLUE,
    )
    ticks = sorted(best)
    figure.update_xaxes(type="log", range=[math.log10(left), math.log10(right)])
    figure.update_xaxes(tickvals=ticks, ticktext=[f"{T:g}" for T in ticks])
    figure.update_xaxes(title_text="T (temperature, log axis)", row=2, col=1)
    figure.update_yaxes(title_text="NLL (nats)", row=1, col=1)
    figure.update_yaxes(title_text="test/acc (%)", row=2, col=1)
    return figure


def _accuracies(shown: Mapping[float, Summary], color: str, name: str) -> go.Scatter:
    halves = [
        None if s.t_interval is None else 50 * (s.t_interval[1] - s.t_interval[0])
        for s in shown.values()
    ]
    return go.Scatter(
        x=list(shown),
        y=[100 * found.mean for found in shown.values()],
        error_y={"array": halves, "thickness": 1.5, "width": 5},
        mode="markers",
        marker={"size": 10, "color": color},
        name=name,
    )


def reliability_figure(networks: Sequence[Network]) -> go.Figure:
    """Accuracy against confidence on test, as they are and scaled; seeds are pooled."""
    shown = networks[:MAX_PANELS]
    figure = canvas(
        1,
        len(shown),
        height=430,
        titles=[network.name for network in shown],
        shared_yaxes=True,
        horizontal_spacing=0.04,
    )
    for column, network in enumerate(shown, 1):
        figure.add_scatter(
            x=[0, 1],
            y=[0, 1],
            mode="lines",
            line={"color": GREY, "dash": "dot", "width": 1},
            name="calibrated",
            showlegend=column == 1,
            hoverinfo="skip",
            row=1,
            col=column,
        )
        for trace in _reliability(network, showlegend=column == 1):
            figure.add_trace(trace, row=1, col=column)
        figure.update_xaxes(
            title_text="confidence",
            range=[0, 1.05],
            row=1,
            col=column,
        )
    figure.update_yaxes(range=[0, 1.05])
    figure.update_yaxes(title_text="accuracy", row=1, col=1)
    figure.update_layout(legend_itemsizing="constant")
    return figure


def _reliability(network: Network, *, showlegend: bool) -> list[go.Scatter]:
    plain = [(found, 1.0) for found, _ in network.fitted] or [(a, 1.0) for a in network.answers]
    traces = []
    for pairs, color, name, symbol in (
        (plain, RED, "as it is", "circle"),
        (
            network.fitted,
            BLUE,
            f"divided by its calibrated T (bins of {FEWEST} images or more)",
            "diamond",
        ),
    ):
        if pairs:
            logits = np.concatenate([of(found, "test")[0] / T for found, T in pairs])
            labels = np.concatenate([of(found, "test")[1] for found, _ in pairs])
            options = {"name": name, "showlegend": showlegend}
            traces.append(_diagram(reliability(logits, labels), len(pairs), color, symbol, options))
    return traces


def _diagram(
    bins: Sequence[Bin], seeds: int, color: str, symbol: str, options: dict[str, Any]
) -> go.Scatter:
    """Bins as markers as large as their share; the bars are Wilson's 95 % intervals.

    The same image of several seeds is one observation at most, so that a bin counts by the seed.
    """
    bins = [found for found in bins if found.count >= FEWEST * seeds]
    counts = np.array([found.count for found in bins]) / seeds
    accuracy = np.array([found.accuracy for found in bins])
    low, high = proportion_confint(accuracy * counts, counts, method="wilson")
    sizes = np.clip(LARGEST * np.sqrt(counts / counts.sum()), SMALLEST, None)
    return go.Scatter(
        x=[found.confidence for found in bins],
        y=accuracy,
        error_y={
            "array": high - accuracy,
            "arrayminus": accuracy - low,
            "thickness": 1,
            "width": 0,
        },
        mode="lines+markers",
        line={"color": color, "width": 1},
        marker={"color": color, "size": sizes, "symbol": symbol},
        customdata=counts,
        hovertemplate="confidence %{x:.3f}, accuracy %{y:.3f}, %{customdata:.0f} images",
        **options,
    )
