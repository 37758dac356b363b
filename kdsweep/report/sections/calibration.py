"""How well calibrated teacher and students are, and whether the best T is the calibrated T.

A teacher's calibrated T is the one at which its probabilities fit the labels of the validation
images (Guo et al. 2017, arXiv 1706.04599). The best T of a sweep is the one that teaches best. That
they are the same has been conjectured and not shown; this section tests it on the sweep at hand.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from kdsweep.plotting.palette import BLUE, GREY, ORANGE, RED
from kdsweep.report.analysis.aggregate import Cell, Grid
from kdsweep.report.analysis.proportions import wilson
from kdsweep.report.analysis.statistics import summary
from kdsweep.report.analysis.temperature_scaling import Scores, mean_nll, reliability
from kdsweep.report.sections.networks import Network, logits_and_labels, with_validation
from kdsweep.report.sections.section import Figure, Line, Section, Table
from kdsweep.report.sections.style import canvas
from kdsweep.report.sections.temperature_question import questions_of
from kdsweep.report.sources.collection import RunCollection
from kdsweep.tracking.predictions import Predictions

TITLE = "Calibration: is the best T the calibrated T?"
TEACHERS = 4  # that the section covers
POINTS = 60  # of the curve of NLL
MAX_PANELS = 3
LARGEST, SMALLEST = 18, 5  # markers, in pixels
FEWEST = 5  # images of a bin that is drawn
NOTHING_HELD_OUT = (
    "Nothing was held out (dataset.val_fraction=0): there is nothing to fit a calibrated T on."
)
NOT_KEPT = "No predictions were kept (tracking.answers=false): there is nothing to calibrate."


def section(collection: RunCollection, grid: Grid) -> Section | None:
    """The calibration of teachers and students; None for a sweep without a finished run."""
    finished = collection.finished_runs()
    if not finished:
        return None
    if grid.best is None:
        return Section(TITLE, [NOTHING_HELD_OUT])
    every = questions_of(finished, grid)
    questions = every[:TEACHERS]
    students = [
        Network(name, with_validation(run.predictions for run in collection.finished_runs(name)))
        for name in filter(None, [grid.best.name, grid.baselines.get(grid.best.name)])
    ]
    networks = [question.teacher for question in questions] + students
    networks = [network for network in networks if network.predictions]
    if not networks:
        return Section(TITLE, [NOT_KEPT])
    sentences = [sentence for question in questions for sentence in question.sentences]
    if len(every) > TEACHERS:
        sentences.append(
            f"Left out: {len(every) - TEACHERS} more teachers, whose cells rank lower."
        )
    rows: list[Line] = []
    for network in networks:
        both = (network.before, network.after)
        scores = [_mean(each, key) for key in ("ece", "nll", "brier") for each in both]
        T = network.T_with_interval if network.fitted else "none"
        rows.append((network.name, str(len(network.before)), T, *scores))
    table = Table(HEADER, rows, NOTE)
    figures = [
        _question_figure(question.teacher, {T: cells[0] for T, cells in question.by_T.items()})
        for question in questions[:1]
        if question.teacher.fitted and len(question.by_T) > 1
    ]
    figures.append(_reliability_figure(networks))
    return Section(TITLE, [*sentences, *_scaling(networks)], [table], figures)


def _scaling(networks: Sequence[Network]) -> list[str]:
    """The effect of dividing by the calibrated T on test, and where that is impossible."""
    changes = [
        f"from {_mean(network.before, 'ece')} to {_mean(network.after, 'ece')} % ({network.name})"
        for network in networks
        if network.fitted
    ]
    sentences = []
    if changes:
        sentences.append(
            f"Dividing logits by the calibrated T takes the ECE on test {', '.join(changes)}."
        )
    for network in networks:
        number = len(network.predictions)
        if (missing := number - len(network.fitted)) and number > 1:
            sentences.append(
                f"{missing} of the {number} networks of {network.name} have no calibrated T: they"
                " are right on every validation image."
            )
    return sentences


SCORES = ("ECE %", "scaled", "NLL", "scaled", "Brier", "scaled")
HEADER = ("network", "n", "calibrated T", *SCORES)
NOTE = (
    "Calibrated T: the one that minimises NLL on validation, with its 95 % interval (over the"
    " images by bootstrap for one network, else over the n seeds); it begins at 0 where many"
    " resamples of the images have no wrong prediction. On test: expected calibration error (15"
    " bins), negative log likelihood (nats) and Brier score (summed over the classes), as they are"
    " and with logits divided by T; +- is half of the 95 % interval over seeds."
)


def _mean(networks: Sequence[Scores], key: str) -> str:
    """`1.10 +- 0.20` over the seeds, the ECE in percent; empty for none."""
    if not networks:
        return ""
    scale, places = (100, 2) if key == "ece" else (1, 4)
    over = summary([scale * float(getattr(scores, key)) for scores in networks])
    half = "" if over.half_width is None else f" +- {over.half_width:.{places}f}"
    return f"{over.mean:.{places}f}{half}"


def _question_figure(teacher: Network, best: Mapping[float, Cell]) -> Figure:
    """The NLL of a teacher with a calibrated T, above the best cell of each T on validation."""
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


def _draw_nll(figure: Figure, teacher: Network, left: float, right: float) -> None:
    """The upper panel: NLL on validation from one T to another, the mean over the seeds."""
    grid = np.geomspace(left, right, POINTS)
    nll = np.mean(
        [mean_nll(*logits_and_labels(p, "val"), grid.tolist()) for p, _ in teacher.fitted], axis=0
    )
    figure.add_scatter(x=grid, y=nll, mode="lines", line_color=BLUE, showlegend=False, row=1, col=1)
    figure.update_yaxes(title_text="NLL (nats)", row=1, col=1)


def _draw_accuracies(figure: Figure, best: Mapping[float, Cell]) -> None:
    """The lower panel: the best cell of each T on test."""
    for tied, color, name in (
        (True, ORANGE, "the best cell, or tied with it (bars: 95 % interval of the mean)"),
        (False, GREY, "worse than the best cell"),
    ):
        shown = {T: c.test for T, c in best.items() if c.is_tied_with_best is tied and c.test}
        if shown:
            widths = [test.half_width for test in shown.values()]
            bars = [None if width is None else 100 * width for width in widths]
            figure.add_scatter(
                x=list(shown),
                y=[100 * test.mean for test in shown.values()],
                error_y={"array": bars, "thickness": 1.5, "width": 5},
                mode="markers",
                marker={"size": 10, "color": color},
                name=name,
                row=2,
                col=1,
            )
    figure.update_yaxes(title_text="test/acc (%)", row=2, col=1)


def _reliability_figure(networks: Sequence[Network]) -> Figure:
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
        style = {"color": RED, "symbol": "circle"}
        _draw_bins(figure, [(p, 1.0) for p in unscaled], "as it is", style, column)
        if network.fitted:
            name = f"divided by its calibrated T (bins of {FEWEST} images or more)"
            style = {"color": BLUE, "symbol": "diamond"}
            _draw_bins(figure, network.fitted, name, style, column)
        figure.update_xaxes(title_text="confidence", range=[0, 1.05], row=1, col=column)
    figure.update_yaxes(range=[0, 1.05])
    figure.update_yaxes(title_text="accuracy", row=1, col=1)
    figure.update_layout(legend_itemsizing="constant")
    return figure


def _draw_bins(
    figure: Figure,
    scaled: Sequence[tuple[Predictions, float]],
    name: str,
    style: Mapping[str, str],
    column: int,
) -> None:
    """Bins as markers as large as their share; the bars are Wilson's 95 % intervals.

    The same image of several seeds is one observation at most, so a bin counts images per seed.
    ``scaled``: the predictions of each seed, and the T that their logits are divided by.
    """
    seeds = len(scaled)
    logits = np.concatenate([logits_and_labels(p, "test")[0] / T for p, T in scaled])
    labels = np.concatenate([logits_and_labels(p, "test")[1] for p, _ in scaled])
    bins = [each for each in reliability(logits, labels) if each.count >= FEWEST * seeds]
    counts = np.array([each.count for each in bins]) / seeds
    accuracy = np.array([each.accuracy for each in bins])
    low, high = wilson(accuracy, counts)
    sizes = np.clip(LARGEST * np.sqrt(counts / counts.sum()), SMALLEST, None)
    figure.add_scatter(
        x=[each.confidence for each in bins],
        y=accuracy,
        error_y={
            "array": high - accuracy,
            "arrayminus": accuracy - low,
            "thickness": 1,
            "width": 0,
        },
        mode="lines+markers",
        line={"color": style["color"], "width": 1},
        marker={**style, "size": sizes},
        customdata=counts,
        hovertemplate="confidence %{x:.3f}, accuracy %{y:.3f}, %{customdata:.0f} images",
        name=name,
        showlegend=column == 1,
        row=1,
        col=column,
    )
