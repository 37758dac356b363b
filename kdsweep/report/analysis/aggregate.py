"""The rows of a sweep as cells: the chosen one, the baselines, and how they compare.

The best cell is chosen by validation and shown on test. Its mean on validation is the largest of
many, and so too large; its mean on test took no part in the choice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from kdsweep.report.analysis.statistics import (
    Comparison,
    Seeds,
    Summary,
    Verdict,
    compare_cells,
    summary,
)
from kdsweep.tracking.results_table import ResultRow, cell_for_ce

BASELINE = "ce"  # the loss of a cell that learns from labels alone


def cell_name(row: ResultRow) -> str:
    """The name of a row's cell; that of a run outside of a sweep is its own."""
    return str(row["cell"] or row["name"])


def is_finished(row: ResultRow) -> bool:
    """Whether a run has ended with a result, and is not a duplicate of another run."""
    return row["status"] == "FINISHED" and row["same_as"] is None


def values_by_seed(rows: Sequence[ResultRow], key: str) -> Seeds:
    """Seed -> a metric of the runs that have ended with a result."""
    finished = (row for row in rows if row["status"] == "FINISHED" and row[key] is not None)
    return {int(row["seed"]): float(row[key]) for row in finished}


@dataclass(frozen=True)
class Cell:
    """One point of the sweep over its seeds."""

    name: str
    rows: list[ResultRow]  # all its runs, finished or not
    test: Summary | None  # of the finished runs; None without any
    val: Summary | None
    against_baseline: Comparison | None  # on test; None for the baseline itself, and without one
    against_best: Comparison | None  # on test; None for the best itself
    is_best: bool = False

    @property
    def test_mean(self) -> float:
        """Mean accuracy on test of a cell that has one, a fraction."""
        assert self.test is not None, self.name
        return self.test.mean

    @property
    def verdict_against_best(self) -> Verdict | None:
        """None for the best cell itself, and where nothing was tested."""
        return None if self.against_best is None else self.against_best.verdict

    @property
    def is_tied_with_best(self) -> bool:
        """Whether it is the best cell, or a test has shown no difference from that."""
        return self.is_best or self.verdict_against_best == "TIED"


@dataclass(frozen=True)
class Grid:
    """All cells of a sweep, the best on validation first (ties by val/loss), unfinished ones last.

    Cells with few seeds come after those with many: the highest of many single runs is lucky.
    ``best`` is None where nothing was held out to choose by.
    """

    cells: list[Cell]
    best: Cell | None
    baselines: dict[str, str]  # cell -> the cell that differs in learning from labels alone

    @property
    def seeds(self) -> int:
        """Of the cell that has most."""
        return max((cell.test.n for cell in self.cells if cell.test), default=0)

    @cached_property
    def finished(self) -> list[Cell]:
        """The cells with a mean on test, in the same order."""
        return [cell for cell in self.cells if cell.test is not None]

    @property
    def leading(self) -> Cell | None:
        """The best cell; where nothing was held out to choose by, the first one."""
        return self.best or next(iter(self.finished), None)

    def baseline_of(self, cell: Cell | None) -> Cell | None:
        """The cell that a cell is compared with; None without one."""
        name = None if cell is None else self.baselines.get(cell.name)
        return next((other for other in self.cells if other.name == name), None)

    @property
    def optimism(self) -> float | None:
        """By how much the best cell's mean on validation exceeds its mean on test."""
        if self.best is None or self.best.val is None or self.best.test is None:
            return None
        return self.best.val.mean - self.best.test.mean


def grid(rows: Sequence[ResultRow]) -> Grid:
    """The cells of a sweep's rows (`kdsweep.tracking.results_table.collect`).

    Runs that are duplicates of another one are left out. Accuracies are fractions in [0, 1].
    """
    by_cell: dict[str, list[ResultRow]] = {}
    for row in rows:
        if row["same_as"] is None:
            by_cell.setdefault(cell_name(row), []).append(row)
    test, val, losses = (
        {name: values_by_seed(runs, key) for name, runs in by_cell.items()}
        for key in ("test/acc", "val/acc", "val/loss")
    )
    most = max(map(len, test.values()), default=0)

    def rank(name: str) -> tuple[bool, float, float]:
        has_few = 2 * len(test[name]) <= most and most > 1
        # The same mean summed in another order is a tie.
        return has_few, -round(_mean(val[name]), 12), _mean(losses[name])

    ranked = sorted((name for name in by_cell if test[name]), key=rank)
    best = ranked[0] if ranked and val[ranked[0]] else None  # the test set chooses nothing
    first = {name: by_cell[name][0] for name in ranked}
    known = {cell_for_ce(row): name for name, row in first.items() if row["loss"] == BASELINE}
    baselines = {
        name: known[words]
        for name, row in first.items()
        if row["loss"] != BASELINE and (words := cell_for_ce(row)) in known
    }
    against_baseline = compare_cells(test, baselines)
    against_best = _against_best(best, ranked, test, baselines, against_baseline) if best else {}
    cells = [
        Cell(
            name=name,
            rows=by_cell[name],
            test=summary(list(test[name].values())) if test[name] else None,
            val=summary(list(val[name].values())) if val[name] else None,
            against_baseline=against_baseline.get(name),
            against_best=against_best.get(name),
            is_best=name == best,
        )
        for name in [*ranked, *(name for name in by_cell if not test[name])]
    ]
    return Grid(cells, cells[0] if best else None, baselines)


def _against_best(
    best: str,
    names: Sequence[str],
    test: Mapping[str, Seeds],
    baselines: Mapping[str, str],
    against_baseline: Mapping[str, Comparison],
) -> dict[str, Comparison]:
    """Every other cell against the best one; its baseline is compared with it already."""
    baseline = baselines.get(best)
    others = [name for name in names if name not in (best, baseline)]
    compared = compare_cells(test, dict.fromkeys(others, best))
    return compared if baseline is None else {**compared, baseline: against_baseline[best].reversed}


def _mean(seeds: Seeds) -> float:
    return sum(seeds.values()) / len(seeds) if seeds else 0.0
