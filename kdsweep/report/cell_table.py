"""The table of cells: one row of text a cell, which every page and file renders its own way."""

from dataclasses import dataclass

from kdsweep.report.analysis.aggregate import Cell, Grid
from kdsweep.report.analysis.statistics import ALPHA, METHOD
from kdsweep.report.formatting import interval, mean, mean_and_sd, p_value, points, sd
from kdsweep.report.sections.section import Table

HEADER = ("cell", "n", "val/acc", "sd", "test/acc", "sd", "vs ce", "p", "verdict", "to best")
NOTE = (
    "Accuracies in percent: the mean over n seeds and the sample's sd. vs ce: points on test with"
    f" their 95 % interval, which is not corrected; p: {METHOD}, Holm-corrected over the cells,"
    f" and a verdict if it is below {ALPHA:g}. Sorted by validation, cells of few seeds last."
)
TO_BEST = {"BEATS": "better", "TIED": "tied", "LOSES": "worse"}


@dataclass(frozen=True)
class CellRow:
    """The texts of a cell; those of what it does not have are empty."""

    name: str
    n: str
    val: str  # mean accuracy on validation, in percent
    val_sd: str
    test: str
    test_sd: str
    difference: str  # to the baseline on test, in points
    interval: str  # of that, 95 %
    p: str
    verdict: str  # against the baseline
    to_best: str  # `best`, `tied`, ...

    @property
    def columns(self) -> tuple[str, ...]:
        """The texts under `HEADER`."""
        compared = f"{self.difference} {self.interval}".rstrip()
        measured = (self.val, self.val_sd, self.test, self.test_sd)
        return (self.name, self.n, *measured, compared, self.p, self.verdict, self.to_best)


def cell_row(cell: Cell) -> CellRow:
    """The row of a cell."""
    against = cell.against_baseline
    return CellRow(
        name=cell.name,
        n=str(cell.test.n if cell.test else 0),
        val=mean(cell.val),
        val_sd=sd(cell.val),
        test=mean(cell.test),
        test_sd=sd(cell.test),
        difference=points(against.difference) if against else "",
        interval=interval(against.interval, "+.2f") if against else "",
        p=p_value(against.p_corrected) if against else "",
        verdict=(against.verdict or "") if against else "",
        to_best="best" if cell.is_best else TO_BEST.get(cell.verdict_against_best or "", ""),
    )


def cell_table(grid: Grid) -> Table:
    """The whole table, for pages of text."""
    return Table(HEADER, [cell_row(cell).columns for cell in grid.cells], NOTE)


def terminal_table(grid: Grid) -> Table:
    """The narrow table of a terminal; columns that no cell has are left out."""
    header = ("cell", "n", "val/acc", "test/acc", "vs ce", "verdict", "to best")
    lines = []
    for cell in grid.cells:
        row, test = cell_row(cell), mean_and_sd(cell.test, " ±")
        lines.append((row.name, row.n, row.val, test, row.difference, row.verdict, row.to_best))
    note = "n seeds: mean ± sample sd on test, in percent; vs ce in points."
    return Table(header, lines, note).without_empty_columns()
