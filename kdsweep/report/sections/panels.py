"""Cells as points of T and alpha: a panel for everything else that the sweep varies."""

from dataclasses import dataclass
from statistics import fmean

from kdsweep.report.analysis.aggregate import Cell, Grid
from kdsweep.report.sections.style import finished
from kdsweep.tracking.results_table import cell_without_T_and_alpha

MAX_TABLE_SIDE = 8  # a search's points, each with a T of its own, are no table

Point = tuple[float, float]  # (T, alpha)


@dataclass(frozen=True)
class Panel:
    """The cells that differ in T and alpha alone, more than one; all have a mean on test."""

    name: str  # what they share: `kl optimizer.lr=0.1`
    cells: dict[Point, Cell]

    @property
    def Ts(self) -> list[float]:
        return sorted({T for T, _ in self.cells})

    @property
    def alphas(self) -> list[float]:
        return sorted({alpha for _, alpha in self.cells})

    @property
    def is_scattered(self) -> bool:
        """Whether its points are spread like a search's, and not the boxes of a table."""
        columns, rows = len(self.Ts), len(self.alphas)
        return max(columns, rows) > MAX_TABLE_SIDE and 2 * len(self.cells) < columns * rows

    @property
    def is_complete(self) -> bool:
        """Whether it is a table without a hole, of two Ts and two alphas at least."""
        columns, rows = len(self.Ts), len(self.alphas)
        return min(columns, rows) > 1 and len(self.cells) == columns * rows

    def mean(self, T: float, alpha: float) -> float:
        """Mean accuracy on test, a fraction."""
        found = self.cells[T, alpha].test
        assert found is not None
        return found.mean

    @property
    def means(self) -> list[float]:
        return [self.mean(*point) for point in self.cells]

    @property
    def grand_mean(self) -> float:
        return fmean(self.means)


def panels(grid: Grid) -> list[Panel]:
    """The panels of a sweep, that of the best cell first."""
    found: dict[str, dict[Point, Cell]] = {}
    for cell in finished(grid):
        row = cell.rows[0]
        if row.get("T") is not None and row.get("alpha") is not None:
            point = float(row["T"]), float(row["alpha"])
            found.setdefault(cell_without_T_and_alpha(row), {})[point] = cell
    return [Panel(name, cells) for name, cells in found.items() if len(cells) > 1]
