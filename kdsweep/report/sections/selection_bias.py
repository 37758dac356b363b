"""What choosing and reporting otherwise would have claimed: on validation, on test, by best epoch.

The report chooses by validation and shows the last epoch on test. Each of the other ways reads a
higher figure off the same runs; here is by how much.
"""

from collections.abc import Sequence
from statistics import fmean

from kdsweep.report.analysis.aggregate import Cell, Grid
from kdsweep.report.sections.histories import runs_of
from kdsweep.report.sections.section import Line, Section, Table
from kdsweep.report.sections.style import finished, select
from kdsweep.report.sources.collection import Run, RunCollection

TITLE = "Chosen on validation, shown on test"
MOST_CELLS = 12
HEADER = ("cell", "val/acc", "best epoch", "gain", "test/acc", "val - test", "optimism")
ON_TEST = "test_curve/acc"
NOTE = (
    "Means over seeds, in percent and points. val/acc: of the last epoch, which is reported; best"
    " epoch: val/acc of the epoch that was best on validation, and what it gains. optimism: the"
    " best epoch on test minus the reported one."
)
UNKNOWN = "Optimism is known only of runs with trainer.test_curve=true."


def section(collection: RunCollection, grid: Grid) -> Section | None:
    """The table of at most twelve cells; None without a cell chosen on validation."""
    if grid.best is None:
        return None
    cells = select(grid, MOST_CELLS)
    gaps = {cell.name: optimism(runs_of(collection, cell)) for cell in cells}
    said = [
        *_selection(grid),
        *_chosen_on_test(grid),
        *_best_epoch(grid.best),
        *_optimism(grid.best, gaps[grid.best.name]),
    ]
    is_known = any(gap is not None for gap in gaps.values())
    note = NOTE if is_known else f"{NOTE.partition(' optimism:')[0]} {UNKNOWN}"
    table = Table(HEADER, [_line(cell, gaps[cell.name]) for cell in cells], note)
    return Section(TITLE, said, [table.without_empty_columns()])


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
    own, cells = grid.optimism, _measured_twice(grid)
    if own is None or len(cells) < 3 or grid.seeds < 2:
        return []
    usual = fmean(_val_minus_test(cell) for cell in cells)
    return [
        f"Validation minus test is {100 * own:+.2f} points for the best of {len(cells)} cells and"
        f" {100 * usual:+.2f} for the average one. The {100 * (own - usual):+.2f} between them is"
        " what being chosen may have lent it on validation; figures on test have nothing of it."
    ]


def _chosen_on_test(grid: Grid) -> list[str]:
    cells = finished(grid)
    highest = max(cells, key=_test)
    if grid.best is None or len(cells) < 2:
        return []
    if highest is grid.best:
        return ["The chosen cell is also the highest on test."]
    return [
        f"Chosen on test it would have been {highest.name}, {100 * _test(highest):.2f} %:"
        f" {100 * (_test(highest) - _test(grid.best)):+.2f} points that nothing held out confirms."
    ]


def _best_epoch(best: Cell) -> list[str]:
    gain = _gain(best)
    if gain is None:
        return []
    return [
        "The last epoch is reported, not the best one: on validation the best epoch of"
        f" {best.name} is {100 * gain:.2f} points higher."
    ]


def _optimism(best: Cell, gap: float | None) -> list[str]:
    if gap is None:
        return []
    return [
        f"A table of the best epochs on test would show {best.name} {100 * gap:.2f} points higher"
        " (the optimism gap)."
    ]


def _line(cell: Cell, gap: float | None) -> Line:
    held_out, best_epoch = (cell.val.mean if cell.val else None), best_epoch_mean(cell)
    return (
        cell.name,
        _percent(held_out),
        _percent(best_epoch),
        _points(_gain(cell)),
        _percent(_test(cell)),
        _points(_val_minus_test(cell) if cell.val else None),
        _points(gap),
    )


def best_epoch_mean(cell: Cell) -> float | None:
    """Mean over the finished runs of val/acc in the epoch where it was highest; None without."""
    finished_rows = [row for row in cell.rows if row["status"] == "FINISHED"]
    values = [row.get("val/acc_best") for row in finished_rows]
    known = [float(value) for value in values if value is not None]
    return fmean(known) if known else None


def _gain(cell: Cell) -> float | None:
    best_epoch = best_epoch_mean(cell)
    return None if best_epoch is None or cell.val is None else best_epoch - cell.val.mean


def _measured_twice(grid: Grid) -> list[Cell]:
    return [cell for cell in finished(grid) if cell.val is not None]


def _test(cell: Cell) -> float:
    assert cell.test is not None
    return cell.test.mean


def _val_minus_test(cell: Cell) -> float:
    assert cell.val is not None
    return cell.val.mean - _test(cell)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}"


def _points(value: float | None) -> str:
    return "" if value is None else f"{100 * value:+.2f}"
