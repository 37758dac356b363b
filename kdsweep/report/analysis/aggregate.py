"""A sweep's rows as cells: which one was chosen, which one is the baseline, what beats what.

The best cell is chosen by validation and shown on test. Its mean on validation is the largest of
many, and so too large; its mean on test took no part in the choice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdsweep.report.analysis.statistics import Comparison, Seeds, Summary, compare_cells, summary
from kdsweep.tracking.results_table import cell_for_ce

Row = dict[str, Any]

BASELINE = "ce"  # the loss of a cell that learns from labels alone


@dataclass(frozen=True)
class Cell:
    """One point of the sweep over its seeds."""

    name: str
    rows: list[Row]  # every run of it, whatever became of it
    test: Summary | None  # of the runs that finished; None without any
    val: Summary | None
    against_baseline: Comparison | None  # on test; None for the baseline itself, and without one
    against_best: Comparison | None  # on test; None for the best itself
    is_best: bool = False

    @property
    def statuses(self) -> dict[str, int]:
        """How many runs ended how."""
        found: dict[str, int] = {}
        for row in self.rows:
            found[row["status"]] = found.get(row["status"], 0) + 1
        return found

    @property
    def is_tied_with_best(self) -> bool:
        """Whether it was compared with the best cell and no difference was shown, or is the best.

        A cell that was not compared is not tied.
        """
        if self.against_best is None:
            return self.is_best
        return self.against_best.verdict == "TIED"


@dataclass(frozen=True)
class Grid:
    """All cells of a sweep, the best on validation first (ties by val/loss), unfinished ones last.

    Cells with few seeds come after those with many: the highest of many single runs is lucky.
    ``best`` is None where nothing was held out to choose by.
    """

    cells: list[Cell]
    best: Cell | None
    baselines: dict[str, str]  # cell -> the one that learns from labels alone and is else the same

    @property
    def seeds(self) -> int:
        """Of the cell that has most."""
        return max((cell.test.n for cell in self.cells if cell.test), default=0)

    @property
    def optimism(self) -> float | None:
        """By how much the best cell's mean on validation exceeds its mean on test."""
        if self.best is None or self.best.val is None or self.best.test is None:
            return None
        return self.best.val.mean - self.best.test.mean


def grid(rows: Sequence[Row]) -> Grid:
    """The cells of a sweep's rows (`kdsweep.tracking.results_table.collect`).

    Runs that were folded into an equal one are left out: they are one run. Accuracies are fractions
    in [0, 1].
    """
    by_cell: dict[str, list[Row]] = {}
    for row in rows:
        if row["same_as"] is None:
            by_cell.setdefault(str(row["cell"] or row["name"]), []).append(row)
    test, val = ({name: _seeds(found, key) for name, found in by_cell.items()} for key in MEASURED)
    finished = [name for name in by_cell if test[name]]
    losses = {name: _seeds(by_cell[name], "val/loss") for name in finished}

    most = max((len(test[name]) for name in finished), default=0)

    def rank(name: str) -> tuple[bool, float, float]:
        has_few = 2 * len(test[name]) <= most and most > 1
        acc = _mean(val[name]) if val[name] else 0.0
        loss = _mean(losses[name]) if losses[name] else 0.0
        return has_few, -round(acc, 12), loss  # the same mean summed in another order is a tie

    ranked = sorted(finished, key=rank)
    best = ranked[0] if ranked and val[ranked[0]] else None  # the test set chooses nothing
    baselines = _baselines({name: by_cell[name][0] for name in ranked})
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
        for name in [*ranked, *(name for name in by_cell if name not in finished)]
    ]
    return Grid(cells, cells[0] if best else None, baselines)


MEASURED = ("test/acc", "val/acc")


def _against_best(
    best: str,
    names: Sequence[str],
    test: Mapping[str, Seeds],
    baselines: Mapping[str, str],
    against_baseline: Mapping[str, Comparison],
) -> dict[str, Comparison]:
    """Every other cell against the best one; what was tested already is not tested again."""
    baseline = baselines.get(best)
    others = [name for name in names if name not in (best, baseline)]
    found = compare_cells(test, dict.fromkeys(others, best))
    return found if baseline is None else {**found, baseline: against_baseline[best].reversed}


def _baselines(rows: Mapping[str, Row]) -> dict[str, str]:
    """Each cell's baseline, from one row of every cell; the baselines themselves have none."""
    known = {cell_for_ce(row): name for name, row in rows.items() if row["loss"] == BASELINE}
    return {
        name: known[words]
        for name, row in rows.items()
        if row["loss"] != BASELINE and (words := cell_for_ce(row)) in known
    }


def _seeds(rows: Sequence[Row], key: str) -> Seeds:
    finished = (row for row in rows if row["status"] == "FINISHED" and row[key] is not None)
    return {int(row["seed"]): float(row[key]) for row in finished}


def _mean(seeds: Seeds) -> float:
    return sum(seeds.values()) / len(seeds)
