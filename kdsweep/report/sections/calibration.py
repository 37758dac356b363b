"""How well calibrated teacher and students are, and whether the best T is the calibrated T.

A teacher's calibrated T is the one at which its probabilities fit the labels of the validation
images (Guo et al. 2017, arXiv 1706.04599). The best T of a sweep is the one that teaches best. That
they are the same has been guessed and not shown; here it is asked of the sweep at hand.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from kdsweep.report.analysis import aggregate
from kdsweep.report.analysis.aggregate import Cell, Grid, Row
from kdsweep.report.analysis.statistics import summary
from kdsweep.report.analysis.temperature_scaling import Scores
from kdsweep.report.analysis.verdicts import p_value, points
from kdsweep.report.sections.networks import Network, distinct, is_finished, runs_of
from kdsweep.report.sections.section import Line, Section, Table
from kdsweep.report.sources.collection import Evidence, Run
from kdsweep.tracking.predictions import Predictions

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

TITLE = "Calibration: is the best T the calibrated T?"
NEAR = 2.0  # a swept T further from the calibrated one than this factor says nothing of it
MANY = 6  # values that a sentence lists
TEACHERS = 4  # that the section tells of
NOTHING_HELD_OUT = (
    "Nothing was held out (dataset.val_fraction=0): there is nothing to fit a calibrated T on."
)
NOT_KEPT = "No answers were kept (tracking.answers=false): there is nothing to calibrate."


def section(evidence: Evidence, grid: Grid) -> Section | None:
    """What the report says of calibration; None for a sweep in which no run has finished."""
    finished = [run for run in evidence.runs if is_finished(run)]
    if not finished:
        return None
    if grid.best is None:
        return Section(TITLE, [NOTHING_HELD_OUT])
    every = _questions(finished, grid)
    questions, left_out = every[:TEACHERS], every[TEACHERS:]
    networks = [question.teacher for question in questions] + _students(finished, grid)
    networks = [network for network in networks if network.answers]
    if not networks:
        return Section(TITLE, [NOT_KEPT])
    said = [sentence for question in questions for sentence in question.sentences]
    if left_out:
        said.append(f"Left out: {len(left_out)} more teachers, whose cells came behind.")
    return Section(
        TITLE, [*said, *_scaling(networks)], [_table(networks)], _figures(every, networks)
    )


def _students(finished: Sequence[Run], grid: Grid) -> list[Network]:
    """The best cell, and its baseline."""
    assert grid.best is not None
    names = [grid.best.name, grid.baselines.get(grid.best.name)]
    return [
        Network(name, _kept(run.answers for run in runs_of(name, finished)))
        for name in names
        if name is not None
    ]


def _kept(answers: Iterable[Predictions | None]) -> list[Predictions]:
    return [found for found in answers if found is not None and "val" in found.logits]


@dataclass(frozen=True)
class Question:
    """A teacher's calibrated T against the T at which it taught best.

    Args:
        grid: of the cells that it taught and in which T has an effect.
    """

    teacher: Network
    grid: Grid

    @cached_property
    def by_T(self) -> Mapping[float, list[Cell]]:
        """The cells of each T, in order of T; the best one on validation is the first of them."""
        found: dict[float, list[Cell]] = {}
        for cell in self.grid.cells:
            if cell.val is not None:
                found.setdefault(_T_of(cell), []).append(cell)
        return dict(sorted(found.items()))

    @property
    def best(self) -> Cell:
        assert self.grid.best is not None
        return self.grid.best

    @cached_property
    def tied(self) -> list[float]:
        """The temperatures with a cell that is tied with the best one, and the best one's own."""
        return [T for T, found in self.by_T.items() if any(c.is_tied_with_best for c in found)]

    @property
    def sentences(self) -> list[str]:
        said = [_calibrated(self.teacher)]
        if len(self.by_T) > 1:
            said.append(self._swept())
        if self.by_T and self.teacher.fitted:
            said.append(self._verdict())
        return said

    def _swept(self) -> str:
        best = _T_of(self.best)
        others = [tied for tied in self.tied if tied != best]
        if self.grid.seeds < 2:
            told = "one seed cannot tell it from another"
        elif others:
            told = f"on test it is statistically tied with T = {listed(others)}"
        else:
            told = "on test it is better than every other swept T"
        return (
            f"The best swept T is {best:g}, that of {self.best.name}, which came first"
            f" on validation; {told}. Seed by seed, the best T on validation is"
            f" {_by_seed(self.grid)}."
        )

    def _verdict(self) -> str:
        if len(self.by_T) == 1:
            return f"Only T = {listed(self.by_T)} was swept: whether another is better is unknown."
        if not (near := _near(self.teacher, list(self.by_T))):
            return (
                f"No T near {self.teacher.T:.3g} was swept, so the sweep does not say how well the"
                f" calibrated T teaches; T={self.teacher.T:.2g} would show it."
            )
        compared = [T for T, found in self.by_T.items() if any(_is_compared(c) for c in found)]
        if set(compared) <= set(self.tied):
            return (
                "Whether the best T is the calibrated one stays open: this sweep does not tell its"
                " temperatures apart."
            )
        return self._told(near)

    def _told(self, near: Sequence[float]) -> str:
        """The verdict where the sweep has one. ``near`` begins with the nearest."""
        best = _T_of(self.best)
        if near[0] == best:
            return (
                f"As far as this sweep tells, the best T is the calibrated one: of the swept T,"
                f" {best:g} is the nearest to it."
            )
        if best in near:
            return (
                f"The best T is not shown to differ from the calibrated one, whose interval"
                f" holds {best:g}."
            )
        if tied := sorted(T for T in near if T in self.tied):
            return (
                f"The best T is not shown to differ from the calibrated one: near that,"
                f" T = {listed(tied)} is tied with it."
            )
        found = self.by_T[near[0]][0].against_best
        if found is None or found.p_corrected is None:
            return (
                f"T = {near[0]:g}, of the swept ones the nearest, was not compared with the best."
            )
        return (
            f"The best T does not seem to be the calibrated one: T = {near[0]:g}, of the swept ones"
            f" the nearest to {self.teacher.T:.3g}, is {points(found)} points from T = {best:g} on"
            f" test (p {p_value(found.p_corrected)}, corrected)."
        )


def _is_compared(cell: Cell) -> bool:
    return cell.against_best is not None and cell.against_best.verdict is not None


def _T_of(cell: Cell) -> float:
    return float(cell.rows[0]["T"])


def _questions(finished: Sequence[Run], grid: Grid) -> list[Question]:
    """One for every teacher, that of the best cell first."""
    rank = {cell.name: place for place, cell in enumerate(grid.cells)}
    by_teacher: dict[str, list[Run]] = {}
    for run in sorted(finished, key=lambda run: rank[str(run.row["cell"] or run.row["name"])]):
        if run.row["teacher"] is not None:
            by_teacher.setdefault(_teacher_of(run.row), []).append(run)
    return [_question(name, runs) for name, runs in by_teacher.items()]


def _teacher_of(row: Row) -> str:
    """A teacher in words, with what the sweep varies of it: `cnn teacher.model.width=8`."""
    words = str(row["cell"] or "").split()
    return " ".join([row["teacher"], *(word for word in words if word.startswith("teacher."))])


def _question(name: str, runs: Sequence[Run]) -> Question:
    """Of a teacher and the runs that it taught, those of its best cell first."""
    best = runs_of(str(runs[0].row["cell"] or runs[0].row["name"]), runs)
    answers = distinct(_kept(run.teacher_answers for run in best))
    with_T = [run.row for run in runs if run.row["T"] is not None]
    return Question(Network(f"teacher {name}", answers), aggregate.grid(with_T))


def _by_seed(grid: Grid) -> str:
    """The T of each seed's best run on validation, counted: `4 in 2 of 3 seeds, 1 in 1`."""
    best: dict[int, tuple[tuple[float, float], float]] = {}
    for row in (row for cell in grid.cells for row in cell.rows if row["val/acc"] is not None):
        rank = (-row["val/acc"], row["val/loss"] or 0.0)
        seed, T = int(row["seed"]), float(row["T"])
        best[seed] = min(best.get(seed, (rank, T)), (rank, T))
    counted = Counter(T for _, T in best.values()).most_common()
    if len(counted) > MANY:
        return f"between {min(T for T, _ in counted):g} and {max(T for T, _ in counted):g}"
    (T, first), *rest = counted
    seeds = "seed" if len(best) == 1 else "seeds"
    return ", ".join(
        [f"{T:g} in {first} of {len(best)} {seeds}", *(f"{T:g} in {n}" for T, n in rest)]
    )


def _near(teacher: Network, swept: Sequence[float]) -> list[float]:
    """The swept T within the interval of the calibrated one or next to it, the nearest first."""

    def factor(T: float) -> float:
        return max(T / teacher.T, teacher.T / T)

    nearest = min(swept, key=factor)
    low, high = teacher.interval or (teacher.T, teacher.T)
    near = {T for T in swept if low <= T <= high} | {T for T in [nearest] if factor(T) <= NEAR}
    return sorted(near, key=factor)


def listed(values: Iterable[float]) -> str:
    """`1, 4 and 16`; only the ends of many."""
    told = [f"{value:g}" for value in values]
    if len(told) > MANY:
        return f"{told[0]} to {told[-1]} ({len(told)} values)"
    return " and ".join([", ".join(told[:-1]), told[-1]] if len(told) > 1 else told)


def _calibrated(teacher: Network) -> str:
    """The calibrated T of a teacher in words, or why it has none."""
    if not teacher.answers:
        return f"The answers of the {teacher.name} were not kept: it has no calibrated T here."
    images = f"{teacher.images} validation images"
    if not teacher.fitted:
        why = (
            f"is right on all {images}: NLL falls for ever as T goes to 0"
            if not max(teacher.temperatures)
            else f"tells nothing of the labels of the {images}"
        )
        return f"The {teacher.name} {why}. It has no calibrated T."
    over = "of the seeds" if len(teacher.fitted) > 1 else f"by bootstrap over {images}"
    return (
        f"The {teacher.name} is calibrated at T = {teacher.T_with_interval} (95 % {over})"
        f"{_confidence(teacher)}."
    )


def _confidence(network: Network) -> str:
    low, high = network.interval or (0.0, math.inf)
    if low > 1:
        return ": it is overconfident"
    return ": it is underconfident" if high < 1 else ""


def _scaling(networks: Sequence[Network]) -> list[str]:
    """What dividing by the calibrated T does on test, and where it cannot be done."""
    told = [
        f"from {_mean(network.before, _ece)} to {_mean(network.after, _ece)} % ({network.name})"
        for network in networks
        if network.fitted
    ]
    said = [f"Dividing logits by the calibrated T takes the ECE on test {', '.join(told)}."]
    for network in networks:
        missing, number = len(network.answers) - len(network.fitted), len(network.answers)
        if missing and number > 1:
            said.append(
                f"{missing} of the {number} networks of {network.name} have no calibrated T: they"
                " are right on every validation image."
            )
    return said if told else said[1:]


HEADER = (
    *("network", "n", "calibrated T"),
    *("ECE %", "scaled", "NLL", "scaled", "Brier", "scaled"),
)
NOTE = (
    "Calibrated T: the one that minimises NLL on validation, with its 95 % interval (over the"
    " images by bootstrap for one network, else over the n seeds); it begins at 0 where many draws"
    " of the images hold no wrong answer. On test: expected calibration error (15 bins), negative"
    " log likelihood (nats) and Brier score (summed over the classes), as they are and with logits"
    " divided by T; +- is half of the 95 % interval over seeds."
)


def _table(networks: Sequence[Network]) -> Table:
    return Table(HEADER, [_line(network) for network in networks], NOTE)


def _line(network: Network) -> Line:
    pairs = [
        (_mean(network.before, key), _mean(network.after, key)) for key in (_ece, _nll, _brier)
    ]
    return (
        network.name,
        str(len(network.before)),
        network.T_with_interval if network.fitted else "none",
        *(text for pair in pairs for text in pair),
    )


def _ece(found: Scores) -> float:
    return 100 * found.ece


def _nll(found: Scores) -> float:
    return found.nll


def _brier(found: Scores) -> float:
    return found.brier


def _mean(found: Sequence[Scores], key: Callable[[Scores], float]) -> str:
    """`1.10 +- 0.20` over the seeds; nothing of none."""
    if not found:
        return ""
    over = summary([key(one) for one in found])
    places = 2 if key is _ece else 4
    if over.t_interval is None:
        return f"{over.mean:.{places}f}"
    half = (over.t_interval[1] - over.t_interval[0]) / 2
    return f"{over.mean:.{places}f} +- {half:.{places}f}"


def _figures(questions: Sequence[Question], networks: Sequence[Network]) -> list["Figure"]:
    """The first teacher's question as a picture, and the reliability diagrams."""
    from kdsweep.report.sections.calibration_figures import question_figure, reliability_figure

    first = [q for q in questions[:1] if q.teacher.fitted and len(q.by_T) > 1]
    asked = [question_figure(q.teacher, {T: c[0] for T, c in q.by_T.items()}) for q in first]
    return [*asked, reliability_figure(networks)]
