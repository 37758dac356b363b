"""Every cell's interval, and how it stands to the best one: what was found, what can be."""

import math

from kdsweep.report.analysis.aggregate import Cell, Grid
from kdsweep.report.analysis.statistics import (
    ALPHA,
    BOOTSTRAP_FROM,
    MANY,
    POWER,
    Comparison,
    Interval,
    Summary,
)
from kdsweep.report.conclusions import METHOD, p_value, points
from kdsweep.report.sections.section import Line, Section, Table
from kdsweep.report.sections.style import finished
from kdsweep.report.sources.collection import RunCollection

TITLE = "Intervals, and how many seeds would settle it"
MOST_CELLS = 25
BUDGETS = (10, 30, 100, MANY)  # seeds
HEADER = (
    "cell", "n", "test/acc", "95 % (t)", "95 % (BCa)", "to best", "p", "finds", "seeds"
)  # fmt: skip
NOTE = (
    "In percent and points. 95 %: interval of the mean over seeds, by Student's t and, from"
    f" {BOOTSTRAP_FROM} seeds on, by the BCa bootstrap. to best: points on test with their 95 %"
    f" interval (not corrected), over the seeds that both have; p: {METHOD}, Holm-corrected over"
    " all cells."
    f" finds: the difference that so many seeds find with probability {POWER:g}; seeds: how many"
    f" would find the one that was measured (both for a single test at {ALPHA:g})."
)


def section(collection: RunCollection, grid: Grid) -> Section | None:
    """The table, the best cells first; None with one seed, which has no interval."""
    cells = finished(grid)
    if grid.seeds < 2:
        return None
    said = _open_questions(grid)
    if len(cells) > MOST_CELLS:
        said.append(f"The first {MOST_CELLS} of {len(cells)} cells, by validation.")
    table = Table(HEADER, [_line(cell) for cell in cells[:MOST_CELLS]], NOTE)
    return Section(TITLE, said, [table.without_empty_columns()])


def _open_questions(grid: Grid) -> list[str]:
    """How many of the ties with the best cell further seeds would settle."""
    compared = [cell.against_best for cell in grid.cells if cell.against_best is not None]
    tied = [found for found in compared if found.verdict == "TIED"]
    needed = [found.seeds_needed or math.inf for found in tied]
    if not tied:
        return []
    settled = {sum(each <= seeds for each in needed): seeds for seeds in reversed(BUDGETS)}
    told = [
        f"{seeds} seeds would settle {ties}, tested alone"
        for ties, seeds in sorted(settled.items())
        if ties > 0 and seeds > grid.seeds
    ]
    ties = "the tie" if len(tied) == 1 else f"the {len(tied)} ties"
    if not told:
        return [f"Were the differences as measured, {MANY} seeds would not settle {ties}."]
    return [f"Of {ties} with the best, were the differences as measured: {', '.join(told)}."]


def _line(cell: Cell) -> Line:
    against = cell.against_best
    seeds = against.seeds_needed if against else None
    detectable = against.detectable if against else None
    tested = against is not None and against.p is not None
    return (
        cell.name,
        str(cell.test.n if cell.test else 0),
        f"{100 * cell.test.mean:.2f}" if cell.test else "",
        _interval(cell.test.t_interval if cell.test else None),
        _interval(_bootstrap(cell.test)),
        points(against) if against else "",
        _p(against),
        "" if detectable is None else f"{100 * detectable:.2f}",
        (f">{MANY}" if seeds is None else str(seeds)) if tested else "",
    )


def _p(found: Comparison | None) -> str:
    if found is None or found.p_corrected is None:
        return ""
    return p_value(found.p_corrected).removeprefix("= ")


def _bootstrap(found: Summary | None) -> Interval | None:
    return None if found is None else found.bootstrap_interval


def _interval(found: Interval | None) -> str:
    return "" if found is None else f"[{100 * found[0]:.2f}, {100 * found[1]:.2f}]"
