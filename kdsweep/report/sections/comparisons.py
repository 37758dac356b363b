"""Intervals of all cells, and each against the best: what was shown, and what could be."""

import math

from kdsweep.report.analysis.aggregate import Grid
from kdsweep.report.analysis.statistics import ALPHA, BOOTSTRAP_FROM, MANY, METHOD, POWER
from kdsweep.report.formatting import difference, interval, mean, p_value, percent
from kdsweep.report.sections.section import Line, Section, Table
from kdsweep.report.sources.collection import RunCollection

TITLE = "Intervals, and how many seeds would settle it"
MOST_CELLS = 25
BUDGETS = (10, 30, 100, MANY)  # seeds
HEADER = ("cell", "n", "test/acc", "95 % (t)", "95 % (BCa)", "to best", "p", "finds", "seeds")
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
    if grid.seeds < 2:
        return None
    cells = grid.finished
    sentences = _open_questions(grid)
    if len(cells) > MOST_CELLS:
        sentences.append(f"The first {MOST_CELLS} of {len(cells)} cells, by validation.")
    rows: list[Line] = []
    for cell in cells[:MOST_CELLS]:
        test, against, seeds = cell.test, cell.against_best, ""
        if against is not None and against.p is not None:
            seeds = f">{MANY}" if against.seeds_needed is None else str(against.seeds_needed)
        rows.append(
            (
                cell.name,
                str(test.n if test else 0),
                mean(test),
                interval(test.t_interval if test else None),
                interval(test.bootstrap_interval if test else None),
                difference(against),
                p_value(against.p_corrected if against else None),
                percent(against.detectable if against else None),
                seeds,
            )
        )
    table = Table(HEADER, rows, NOTE)
    return Section(TITLE, sentences, [table.without_empty_columns()])


def _open_questions(grid: Grid) -> list[str]:
    """How many of the ties with the best cell further seeds would settle."""
    compared = [cell.against_best for cell in grid.cells if cell.against_best is not None]
    needed = [tie.seeds_needed or math.inf for tie in compared if tie.verdict == "TIED"]
    if not needed:
        return []
    settled = {sum(each <= seeds for each in needed): seeds for seeds in reversed(BUDGETS)}
    steps = [
        f"{seeds} seeds would settle {number}, tested alone"
        for number, seeds in sorted(settled.items())
        if number > 0 and seeds > grid.seeds
    ]
    ties = "the tie" if len(needed) == 1 else f"the {len(needed)} ties"
    if not steps:
        return [f"Were the differences as measured, {MANY} seeds would not settle {ties}."]
    return [f"Of {ties} with the best, were the differences as measured: {', '.join(steps)}."]
