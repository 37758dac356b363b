"""Whether the T that teaches best is the teacher's calibrated T, for each teacher of a sweep."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from kdsweep.common.cells import CellName
from kdsweep.report.analysis import aggregate
from kdsweep.report.analysis.aggregate import Cell, Grid, cell_name
from kdsweep.report.formatting import MOST_VALUES, difference, listed, p_equals
from kdsweep.report.sections.networks import Network, distinct, with_validation
from kdsweep.report.sources.collection import Run

NEAR = 2.0  # largest ratio of a swept T to the calibrated one at which it stands for that


class Verdict(Enum):
    """How the best T compares with the calibrated one; the value is the sentence."""

    ONE_T = "Only T = {swept} was swept: whether another is better is unknown."
    NONE_NEAR = (
        "No T near {calibrated:.3g} was swept, so the sweep does not show how well the calibrated T"
        " teaches; T={calibrated:.2g} would show it."
    )
    ALL_TIED = (
        "Whether the best T is the calibrated one stays open: this sweep shows no difference"
        " between its temperatures."
    )
    NEAREST = (
        "As far as this sweep shows, the best T is the calibrated one: of the swept T, {best:g} is"
        " the nearest to it."
    )
    IN_INTERVAL = (
        "The best T is not shown to differ from the calibrated one, whose interval contains"
        " {best:g}."
    )
    TIED = (
        "The best T is not shown to differ from the calibrated one: near that, T = {tied} is tied"
        " with it."
    )
    NOT_COMPARED = "T = {nearest:g}, of the swept ones the nearest, was not compared with the best."
    DIFFERENT = (
        "The best T does not seem to be the calibrated one: T = {nearest:g}, of the swept ones the"
        " nearest to {calibrated:.3g}, is {difference} points from T = {best:g} on test (p {p},"
        " corrected)."
    )


@dataclass(frozen=True)
class TemperatureQuestion:
    """Whether the T at which a teacher taught best is its calibrated T."""

    teacher: Network
    grid: Grid  # of the cells that it taught and in which T has an effect

    @cached_property
    def by_T(self) -> Mapping[float, list[Cell]]:
        """The cells of each T, in order of T; the best one on validation is the first of them."""
        cells: dict[float, list[Cell]] = {}
        for cell in self.grid.cells:
            if cell.val is not None:
                cells.setdefault(_T_of(cell), []).append(cell)
        return dict(sorted(cells.items()))

    @property
    def best(self) -> Cell:
        assert self.grid.best is not None
        return self.grid.best

    @cached_property
    def tied(self) -> list[float]:
        """The temperatures with a cell that is tied with the best one, and the best one's own."""
        return [T for T, cells in self.by_T.items() if any(c.is_tied_with_best for c in cells)]

    @cached_property
    def near(self) -> list[float]:
        """The swept T in the interval of the calibrated one or next to it, the nearest first."""
        calibrated = self.teacher.T

        def ratio(T: float) -> float:
            return max(T / calibrated, calibrated / T)

        low, high = self.teacher.interval or (calibrated, calibrated)
        nearest = min(self.by_T, key=ratio)
        near = {T for T in self.by_T if low <= T <= high or (nearest == T and ratio(T) <= NEAR)}
        return sorted(near, key=ratio)

    def decide(self) -> Verdict:
        """The verdict; for a teacher with a calibrated T, and one swept T at least."""
        if len(self.by_T) == 1:
            return Verdict.ONE_T
        if not self.near:
            return Verdict.NONE_NEAR
        compared = {
            T for T, cells in self.by_T.items() if any(c.verdict_against_best for c in cells)
        }
        if compared <= set(self.tied):
            return Verdict.ALL_TIED
        best = _T_of(self.best)
        if self.near[0] == best:
            return Verdict.NEAREST
        if best in self.near:
            return Verdict.IN_INTERVAL
        if set(self.near) & set(self.tied):
            return Verdict.TIED
        nearest = self.by_T[self.near[0]][0]
        return Verdict.DIFFERENT if nearest.verdict_against_best else Verdict.NOT_COMPARED

    @property
    def sentences(self) -> list[str]:
        """The calibrated T, the best swept T, and the verdict, as far as there are any."""
        sentences = [_calibrated(self.teacher)]
        if len(self.by_T) > 1:
            sentences.append(self._best_swept())
        if self.by_T and self.teacher.fitted:
            nearest = self.near[0] if self.near else math.nan
            compared = self.by_T[nearest][0].against_best if self.near else None
            text = self.decide().value.format(
                swept=listed(self.by_T),
                calibrated=self.teacher.T,
                best=_T_of(self.best),
                tied=listed(sorted(set(self.near) & set(self.tied))),
                nearest=nearest,
                difference=difference(compared),
                p=p_equals(compared.p_corrected if compared else None),
            )
            sentences.append(text)
        return sentences

    def _best_swept(self) -> str:
        best = _T_of(self.best)
        if self.grid.seeds < 2:
            relation = "one seed cannot distinguish it from another"
        elif others := [tied for tied in self.tied if tied != best]:
            relation = f"on test it is statistically tied with T = {listed(others)}"
        else:
            relation = "on test it is better than every other swept T"
        return (
            f"The best swept T is {best:g}, that of {self.best.name}, which came first"
            f" on validation; {relation}. Seed by seed, the best T on validation is"
            f" {_best_by_seed(self.grid)}."
        )


def _T_of(cell: Cell) -> float:
    return float(cell.rows[0]["T"])


def questions_of(finished: Sequence[Run], grid: Grid) -> list[TemperatureQuestion]:
    """One for every teacher, that of the best cell first; `cnn teacher.model.width=8` is one."""
    rank = {cell.name: place for place, cell in enumerate(grid.cells)}
    by_teacher: dict[str, list[Run]] = {}
    for run in sorted(finished, key=lambda run: rank[cell_name(run.row)]):
        if run.row["teacher"] is not None:
            others = CellName.parse(str(run.row["cell"] or "")).others
            varied = [f"{key}={v}" for key, v in others.items() if key.startswith("teacher.")]
            by_teacher.setdefault(" ".join([run.row["teacher"], *varied]), []).append(run)
    questions = []
    for name, runs in by_teacher.items():
        of_best = [run for run in runs if cell_name(run.row) == cell_name(runs[0].row)]
        predictions = with_validation(run.teacher_predictions for run in of_best)
        with_T = [run.row for run in runs if run.row["T"] is not None]
        teacher = Network(f"teacher {name}", distinct(predictions))
        questions.append(TemperatureQuestion(teacher, aggregate.grid(with_T)))
    return questions


def _best_by_seed(grid: Grid) -> str:
    """The T of each seed's best run on validation, counted: `4 in 2 of 3 seeds, 1 in 1`."""
    best: dict[int, tuple[tuple[float, float], float]] = {}
    for row in (row for cell in grid.cells for row in cell.rows if row["val/acc"] is not None):
        rank = (-row["val/acc"], row["val/loss"] or 0.0)
        seed, T = int(row["seed"]), float(row["T"])
        best[seed] = min(best.get(seed, (rank, T)), (rank, T))
    counted = Counter(T for _, T in best.values()).most_common()
    if len(counted) > MOST_VALUES:
        return f"between {min(T for T, _ in counted):g} and {max(T for T, _ in counted):g}"
    (T, first), *rest = counted
    seeds = "seed" if len(best) == 1 else "seeds"
    return ", ".join(
        [f"{T:g} in {first} of {len(best)} {seeds}", *(f"{T:g} in {n}" for T, n in rest)]
    )


def _calibrated(teacher: Network) -> str:
    """The calibrated T of a teacher, or why it has none."""
    if not teacher.predictions:
        return f"The predictions of the {teacher.name} were not kept: it has no calibrated T here."
    images = f"{teacher.images} validation images"
    if not teacher.fitted:
        reason = (
            f"is right on all {images}: NLL decreases without end as T goes to 0"
            if not max(teacher.temperatures)
            else f"gives no information on the labels of the {images}"
        )
        return f"The {teacher.name} {reason}. It has no calibrated T."
    over = "of the seeds" if len(teacher.fitted) > 1 else f"by bootstrap over {images}"
    low, high = teacher.interval or (0.0, math.inf)
    confidence = ""
    if low > 1:
        confidence = ": it is overconfident"
    elif high < 1:
        confidence = ": it is underconfident"
    return (
        f"The {teacher.name} is calibrated at T = {teacher.T_with_interval} (95 % {over})"
        f"{confidence}."
    )
