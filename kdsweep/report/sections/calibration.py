"""How well calibrated teacher and students are, and whether the best T is the calibrated T.

A teacher's calibrated T is the one at which its probabilities fit the labels of the validation
images (Guo et al. 2017, arXiv 1706.04599). The best T of a sweep is the one that teaches best. That
they are the same has been conjectured and not shown; this section tests it on the sweep at hand.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from kdsweep.report.analysis.aggregate import Grid
from kdsweep.report.analysis.statistics import summary
from kdsweep.report.analysis.temperature_scaling import Scores
from kdsweep.report.sections.networks import Network, with_validation
from kdsweep.report.sections.section import Line, Section, Table
from kdsweep.report.sections.temperature_question import TemperatureQuestion, questions_of
from kdsweep.report.sources.collection import RunCollection

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

TITLE = "Calibration: is the best T the calibrated T?"
TEACHERS = 4  # that the section covers
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
    best_and_baseline = [grid.best.name, grid.baselines.get(grid.best.name)]
    students = [
        Network(name, with_validation(run.predictions for run in collection.finished_runs(name)))
        for name in best_and_baseline
        if name is not None
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
    table = Table(HEADER, [_line(network) for network in networks], NOTE)
    return Section(TITLE, [*sentences, *_scaling(networks)], [table], _figures(every, networks))


def _scaling(networks: Sequence[Network]) -> list[str]:
    """The effect of dividing by the calibrated T on test, and where that is impossible."""
    changes = [
        f"from {_mean(network.before, _ece)} to {_mean(network.after, _ece)} % ({network.name})"
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


HEADER = (
    *("network", "n", "calibrated T"),
    *("ECE %", "scaled", "NLL", "scaled", "Brier", "scaled"),
)
NOTE = (
    "Calibrated T: the one that minimises NLL on validation, with its 95 % interval (over the"
    " images by bootstrap for one network, else over the n seeds); it begins at 0 where many"
    " resamples of the images have no wrong prediction. On test: expected calibration error (15"
    " bins), negative log likelihood (nats) and Brier score (summed over the classes), as they are"
    " and with logits divided by T; +- is half of the 95 % interval over seeds."
)


def _line(network: Network) -> Line:
    return (
        network.name,
        str(len(network.before)),
        network.T_with_interval if network.fitted else "none",
        *(
            _mean(over, score)
            for score in (_ece, _nll, _brier)
            for over in (network.before, network.after)
        ),
    )


def _ece(scores: Scores) -> float:
    return 100 * scores.ece


def _nll(scores: Scores) -> float:
    return scores.nll


def _brier(scores: Scores) -> float:
    return scores.brier


def _mean(networks: Sequence[Scores], score: Callable[[Scores], float]) -> str:
    """`1.10 +- 0.20` over the seeds; empty for none."""
    if not networks:
        return ""
    over = summary([score(one) for one in networks])
    places = 2 if score is _ece else 4
    half = "" if over.half_width is None else f" +- {over.half_width:.{places}f}"
    return f"{over.mean:.{places}f}{half}"


def _figures(
    questions: Sequence[TemperatureQuestion], networks: Sequence[Network]
) -> list["Figure"]:
    """The first teacher's NLL over T and what each T taught; the reliability diagrams."""
    from kdsweep.report.sections.calibration_figures import question_figure, reliability_figure

    figures = [
        question_figure(question.teacher, {T: cells[0] for T, cells in question.by_T.items()})
        for question in questions[:1]
        if question.teacher.fitted and len(question.by_T) > 1
    ]
    return [*figures, reliability_figure(networks)]
