"""The answer of a sweep in sentences: what won, by how much, and how sure that is."""

from collections.abc import Sequence

from kdsweep.report.analysis.aggregate import Cell, Grid
from kdsweep.report.analysis.statistics import ALPHA, Comparison, Summary


def conclusions(grid: Grid, missing: Sequence[str] = ()) -> list[str]:
    """The sentences, the most important first.

    Args:
        missing: names of runs that were asked for and have left nothing.
    """
    return [*_found(grid), *_missing(missing)]


def _found(grid: Grid) -> list[str]:
    if grid.best is None and grid.seeds > 0:
        return [
            "Nothing was held out to choose by (dataset.val_fraction=0): no cell is called best.",
            *_unfinished(grid),
        ]
    if grid.best is None or grid.best.test is None:
        return ["No run has finished: there is nothing to say yet.", *_unfinished(grid)]
    if grid.seeds < 2:
        return [
            f"One seed: nothing can be concluded. {grid.best.name} came first on validation, with"
            f" {percent(grid.best.test)} on test; other seeds may turn this round.",
            *_unfinished(grid),
        ]
    return [
        *_against_baseline(grid, grid.best),
        *_ties(grid),
        *_optimism(grid),
        *_unfinished(grid),
    ]


def _against_baseline(grid: Grid, best: Cell) -> list[str]:
    found = best.against_baseline
    if found is None or found.difference is None:
        return [f"{best.name} came first on validation: {percent(best.test)} on test."]
    baseline = grid.baselines[best.name]
    if found.p_corrected is None:
        lack = "they share one seed" if found.n < 2 else "the seeds that both have do not vary"
        sure = f"which nothing can test: {lack}"
    else:
        p = p_value(found.p_corrected)
        number = sum(cell.against_baseline is not None for cell in grid.cells)
        corrected = f", corrected over {number} comparisons" if number > 1 else ""
        sure = f"p {p} over {found.n} seeds{corrected}"
    words = {"BEATS": "beats", "LOSES": "loses to", "TIED": "is not shown to differ from"}
    verdict = words.get(found.verdict or "", "is not compared with")
    said = [f"{best.name} {verdict} {baseline}: {points(found)} points on test, {sure}."]
    if found.verdict == "TIED":
        said.append(_what_it_takes(found))
    return said


def _what_it_takes(found: Comparison) -> str:
    """How far the seeds reach, and how many would do."""
    seeds = found.seeds_needed
    enough = "no number of seeds below 1000" if seeds is None else f"about {seeds} seeds"
    reach = "" if found.detectable is None else f"{100 * found.detectable:.2f} points"
    return (
        f"{found.n} seeds find a difference of {reach} four times out of five in a single test; one"
        f" as small as this one asks for {enough}, and for more among many cells."
    )


def _ties(grid: Grid) -> list[str]:
    """How the other cells stand to the best one."""
    by_verdict: dict[str | None, list[str]] = {}
    for cell in grid.cells:
        if (found := cell.against_best) is not None:
            by_verdict.setdefault(found.verdict, []).append(cell.name)
    untested = by_verdict.pop(None, [])
    tested = sum(map(len, by_verdict.values()))
    others = "the other cell" if tested == 1 else f"{tested} other cells"
    counted = f", {{}} of {others}" if tested > 1 else ""
    said = []
    if above := by_verdict.get("BEATS", []):
        said.append(f"Better than it on test{counted.format(len(above))}: {_some(above)}.")
    if tied := by_verdict.get("TIED", []):
        said.append(f"Statistically tied with it{counted.format(len(tied))}: {_some(tied)}.")
    if tested and not above and not tied:
        said.append(f"It is better than {others}.")
    if untested:
        cells = "1 other cell" if len(untested) == 1 else f"{len(untested)} other cells"
        said.append(f"Not compared with it, for want of shared seeds or of spread: {cells}.")
    return said


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _optimism(grid: Grid) -> list[str]:
    chosen_among = sum(cell.val is not None for cell in grid.cells)
    if (gap := grid.optimism) is None or chosen_among < 2:
        return []
    return [
        f"It was chosen by validation among {chosen_among} cells; its mean there is"
        f" {100 * gap:+.2f} points from its mean on test, which took no part in the choice."
    ]


def _unfinished(grid: Grid) -> list[str]:
    totals: dict[str, int] = {}
    for cell in grid.cells:
        for status, number in cell.statuses.items():
            totals[status] = totals.get(status, 0) + number
    totals.pop("FINISHED", None)
    if not totals:
        return []
    counted = ", ".join(f"{number} {status}" for status, number in sorted(totals.items()))
    return [f"Not in any mean: {counted}."]


def _missing(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    some = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    runs = "1 run was" if len(names) == 1 else f"{len(names)} runs were"
    return [f"{runs} asked for and never began: {some}."]


def percent(found: Summary | None) -> str:
    """`86.33 %`, with the 95 % interval where there is one: `86.33 [86.01, 86.65] %`."""
    if found is None:
        return ""
    if found.t_interval is None:
        return f"{100 * found.mean:.2f} %"
    low, high = found.t_interval
    return f"{100 * found.mean:.2f} [{100 * low:.2f}, {100 * high:.2f}] %"


def p_value(p: float) -> str:
    """`= 0.0259`, or `< 0.0001`: nobody believes a smaller one."""
    return f"= {p:.3g}" if p >= 1e-4 else "< 0.0001"


def points(found: Comparison) -> str:
    """A difference with its sign and 95 % interval: `+1.20 [+0.40, +2.00]`."""
    if found.difference is None:
        return ""
    if found.interval is None:
        return f"{100 * found.difference:+.2f}"
    low, high = found.interval
    return f"{100 * found.difference:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]"


HEADER = ("cell", "n", "val/acc", "sd", "test/acc", "sd", "vs ce", "p", "verdict", "to best")
METHOD = (
    "t-test over shared seeds, its error taken from all cells together where they vary alike"
    " (randomised blocks), else from the two (paired)"
)
NOTE = (
    "Accuracies in percent: the mean over n seeds and the sample's sd. vs ce: points on test with"
    f" their 95 % interval, which is not corrected; p: {METHOD}, Holm-corrected over the cells,"
    f" and a verdict if it is below {ALPHA:g}. Sorted by validation, cells of few seeds last."
)


def lines(grid: Grid) -> list[tuple[str, ...]]:
    """The table's rows, under `HEADER`."""
    return [_line(cell) for cell in grid.cells]


def _line(cell: Cell) -> tuple[str, ...]:
    against = cell.against_baseline
    p = against.p_corrected if against else None
    return (
        cell.name,
        str(cell.test.n if cell.test else 0),
        *_mean_and_sd(cell.val),
        *_mean_and_sd(cell.test),
        "" if against is None else points(against),
        "" if p is None else p_value(p).removeprefix("= "),
        (against.verdict or "") if against else "",
        to_best(cell),
    )


def brief(grid: Grid) -> list[dict[str, str]]:
    """The table for a terminal: by column; what no cell has is left out."""
    rows = []
    for cell, line in zip(grid.cells, lines(grid), strict=True):
        mean, sd = _mean_and_sd(cell.test)
        against = cell.against_baseline
        difference = None if against is None else against.difference
        rows.append(
            {
                "cell": cell.name,
                "n": line[1],
                "val/acc": line[2],
                "test/acc": f"{mean} ±{sd}" if sd else mean,
                "vs ce": "" if difference is None else f"{100 * difference:+.2f}",
                "verdict": line[-2],
                "to best": line[-1],
            }
        )
    told = [name for name in rows[0] if any(row[name] for row in rows)] if rows else []
    return [{name: row[name] for name in told} for row in rows]


def to_best(cell: Cell) -> str:
    """How a cell stands to the best one, in a word; empty where they were not compared."""
    if cell.is_best:
        return "best"
    verdict = cell.against_best.verdict if cell.against_best else None
    return {"BEATS": "better", "TIED": "tied", "LOSES": "worse"}.get(verdict or "", "")


def _mean_and_sd(found: Summary | None) -> tuple[str, str]:
    if found is None:
        return "", ""
    return f"{100 * found.mean:.2f}", "" if found.sd is None else f"{100 * found.sd:.2f}"
