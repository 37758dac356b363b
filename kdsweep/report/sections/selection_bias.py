"""The bias of other ways to choose and report: on validation, on test, by the best epoch.

The report chooses by validation and shows the last epoch on test. Each of the other ways reads a
higher figure off the same runs; this section has the differences.
"""

from collections.abc import Sequence
from statistics import fmean

from kdsweep.report.analysis.aggregate import Cell, Grid
from kdsweep.report.formatting import mean, percent, points
from kdsweep.report.sections.section import Section, Table
from kdsweep.report.sections.style import select
from kdsweep.report.sources.collection import Run, RunCollection

TITLE = "Chosen on validation, shown on test"
MOST_CELLS = 12
HEADER = ("cell", "val/acc", "best epoch", "gain", "test/acc", "val - test", "optimism")
ON_TEST = "test_curve/acc"
NOTE = (
    "Means over seeds, in percent and points. val/acc: of the last epoch, which is reported; best"
    " epoch: val/acc of the epoch that was best on validation, and what it gains."
)
OPTIMISM = " optimism: the best epoch on test minus the reported one."
UNKNOWN = " Optimism is known only of runs with trainer.test_curve=true."


def section(collection: RunCollection, grid: Grid) -> Section | None:
    """The table of at most twelve cells; None without a cell chosen on validation."""
    best = grid.best
    if best is None:
        return None
    cells = select(grid, MOST_CELLS)
    gaps = {cell.name: optimism(collection.finished_runs(cell.name)) for cell in cells}
    sentences = _selection(grid)
    highest = max(grid.finished, key=lambda cell: cell.test_mean)
    if len(grid.finished) > 1 and highest is best:
        sentences.append("The chosen cell is also the highest on test.")
    elif len(grid.finished) > 1:
        sentences.append(
            f"Chosen on test it would have been {highest.name}, {mean(highest.test)} %:"
            f" {points(highest.test_mean - best.test_mean)} points that no held-out data confirm."
        )
    if (gain := _gain(best)) is not None:
        sentences.append(
            "The last epoch is reported, not the best one: on validation the best epoch of"
            f" {best.name} is {percent(gain)} points higher."
        )
    if (gap := gaps[best.name]) is not None:
        sentences.append(
            f"A table of the best epochs on test would show {best.name} {percent(gap)} points"
            " higher (the optimism gap)."
        )
    is_known = any(gap is not None for gap in gaps.values())
    rows = [
        (
            cell.name,
            mean(cell.val),
            percent(best_epoch_mean(cell)),
            points(_gain(cell)),
            mean(cell.test),
            points(_val_minus_test(cell)),
            points(gaps[cell.name]),
        )
        for cell in cells
    ]
    table = Table(HEADER, rows, NOTE + (OPTIMISM if is_known else UNKNOWN))
    return Section(TITLE, sentences, [table.without_empty_columns()])


def optimism(runs: Sequence[Run]) -> float | None:
    """The best epoch on test minus the last one, the mean over runs; a fraction.

    None where test was not measured after every epoch (trainer.test_curve).
    """
    gaps = []
    for run in runs:
        values = [row["metrics"].get(ON_TEST) for row in run.history]
        curve = [value for value in values if value is not None]
        if curve:
            gaps.append(max(curve) - curve[-1])
    return fmean(gaps) if gaps else None


def _selection(grid: Grid) -> list[str]:
    """What the best cell gained on validation by being the best of many there."""
    own = grid.optimism
    gaps = [gap for cell in grid.finished if (gap := _val_minus_test(cell)) is not None]
    if own is None or len(gaps) < 3 or grid.seeds < 2:
        return []
    usual = fmean(gaps)
    return [
        f"Validation minus test is {points(own)} points for the best of {len(gaps)} cells and"
        f" {points(usual)} for the average one. The {points(own - usual)} between them is the"
        " bias that the choice may have added on validation; figures on test are free of it."
    ]


def best_epoch_mean(cell: Cell) -> float | None:
    """Mean over the finished runs of val/acc in the epoch where it was highest; None without."""
    values = [row.get("val/acc_best") for row in cell.rows if row["status"] == "FINISHED"]
    known = [float(value) for value in values if value is not None]
    return fmean(known) if known else None


def _gain(cell: Cell) -> float | None:
    best_epoch = best_epoch_mean(cell)
    return None if best_epoch is None or cell.val is None else best_epoch - cell.val.mean


def _val_minus_test(cell: Cell) -> float | None:
    return None if cell.val is None else cell.val.mean - cell.test_mean
