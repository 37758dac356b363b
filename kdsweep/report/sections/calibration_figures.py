"""The figures on calibration, for plotly."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from statsmodels.stats.proportion import proportion_confint

from kdsweep.plotting.plots import BLUE, GREY, ORANGE, RED
from kdsweep.report.analysis.aggregate import Cell
from kdsweep.report.analysis.temperature_scaling import mean_nll, reliability
from kdsweep.report.sections.networks import Network, logits_and_labels
from kdsweep.report.sections.style import canvas
from kdsweep.tracking.predictions import Answers

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
    titles = (f"{teacher.name}: NLL on validation", "Best cell of each T: accuracy on test")
    figure = canvas(2, height=560, titles=titles, shared_xaxes=True, vertical_spacing=0.09)
    low, high = teacher.interval or (teacher.T, teacher.T)
    ends = [*best, teacher.T, *(end for end in (low, high) if 0 < end < math.inf)]
    left, right = min(ends) / 1.5, max(ends) * 1.5
    _draw_nll(figure, teacher, left, right)
    _draw_accuracies(figure, best)
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
    return figure


def _draw_nll(figure: go.Figure, teacher: Network, left: float, right: float) -> None:
    """The upper panel: NLL on validation from one T to another, the mean over the seeds."""
    grid = np.geomspace(left, right, POINTS)
    nll = np.mean(
        [mean_nll(*logits_and_labels(p, "val"), grid.tolist()) for p, _ in teacher.fitted], axis=0
    )
    curve = go.Scatter(x=grid, y=nll, mode="lines", line_color=BLUE, showlegend=False)
    figure.add_trace(curve, row=1, col=1)
    figure.update_yaxes(title_text="NLL (nats)", row=1, col=1)


def _draw_accuracies(figure: go.Figure, best: Mapping[float, Cell]) -> None:
    """The lower panel: the best cell of each T on test."""
    for tied, color, name in (
        (True, ORANGE, "the best cell, or tied with it (bars: 95 % interval of the mean)"),
        (False, GREY, "worse than the best cell"),
    ):
        shown = {T: c.test for T, c in best.items() if c.is_tied_with_best is tied and c.test}
        if shown:
            widths = [summary.half_width for summary in shown.values()]
            trace = go.Scatter(
                x=list(shown),
                y=[100 * summary.mean for summary in shown.values()],
                error_y={
                    "array": [None if width is None else 100 * width for width in widths],
                    "thickness": 1.5,
                    "width": 5,
                },
                mode="markers",
                marker={"size": 10, "color": color},
                name=name,
            )
            figure.add_trace(trace, row=2, col=1)
    figure.update_yaxes(title_text="test/acc (%)", row=2, col=1)


def reliability_figure(networks: Sequence[Network]) -> go.Figure:
    """Accuracy against confidence on test, unscaled and scaled; seeds are pooled."""
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
        unscaled = [p for p, _ in network.fitted] or network.predictions
        traces = [_diagram([(p, 1.0) for p in unscaled], RED, "circle", "as it is")]
        if network.fitted:
            name = f"divided by its calibrated T (bins of {FEWEST} images or more)"
            traces.append(_diagram(network.fitted, BLUE, "diamond", name))
        for trace in traces:
            figure.add_trace(trace.update(showlegend=column == 1), row=1, col=column)
        figure.update_xaxes(title_text="confidence", range=[0, 1.05], row=1, col=column)
    figure.update_yaxes(range=[0, 1.05])
    figure.update_yaxes(title_text="accuracy", row=1, col=1)
    figure.update_layout(legend_itemsizing="constant")
    return figure


def _diagram(
    scaled: Sequence[tuple[Answers, float]], color: str, symbol: str, name: str
) -> go.Scatter:
    """Bins as markers as large as their share; the bars are Wilson's 95 % intervals.

    The same image of several seeds is one observation at most, so a bin counts images per seed.

    Args:
        scaled: the predictions of each seed, and the T that their logits are divided by.
    """
    seeds = len(scaled)
    logits = np.concatenate([logits_and_labels(p, "test")[0] / T for p, T in scaled])
    labels = np.concatenate([logits_and_labels(p, "test")[1] for p, _ in scaled])
    bins = [each for each in reliability(logits, labels) if each.count >= FEWEST * seeds]
    counts = np.array([each.count for each in bins]) / seeds
    accuracy = np.array([each.accuracy for each in bins])
    low, high = proportion_confint(accuracy * counts, counts, method="wilson")
    sizes = np.clip(LARGEST * np.sqrt(counts / counts.sum()), SMALLEST, None)
    bars = {"array": high - accuracy, "arrayminus": accuracy - low, "thickness": 1, "width": 0}
    return go.Scatter(
        x=[each.confidence for each in bins],
        y=accuracy,
        error_y=bars,
        mode="lines+markers",
        line={"color": color, "width": 1},
        marker={"color": color, "size": sizes, "symbol": symbol},
        customdata=counts,
        hovertemplate="confidence %{x:.3f}, accuracy %{y:.3f}, %{customdata:.0f} images",
        name=name,
    )
