"""What a sweep has shown, in sentences: which cell won, by how much, and how sure that is."""

from collections import Counter
from collections.abc import Sequence

from kdsweep.report import formatting
from kdsweep.report.analysis.aggregate import Cell, Grid


def conclusions(grid: Grid, missing: Sequence[str] = ()) -> list[str]:
    """The sentences, the most important first; ``missing`` are runs that have left nothing."""
    sentences = _of_best(grid)
    totals = Counter(str(row["status"]) for cell in grid.cells for row in cell.rows)
    del totals["FINISHED"]
    if totals:
        counted = ", ".join(f"{number} {status}" for status, number in sorted(totals.items()))
        sentences.append(f"Not in any mean: {counted}.")
    if missing:
        names = ", ".join(missing[:10]) + (", ..." if len(missing) > 10 else "")
        runs = "1 run was" if len(missing) == 1 else f"{len(missing)} runs were"
        sentences.append(f"{runs} requested and never started: {names}.")
    return sentences


def _of_best(grid: Grid) -> list[str]:
    best = grid.best
    if best is None and grid.seeds > 0:
        return [
            "Nothing was held out to choose by (dataset.val_fraction=0): no cell is called best."
        ]
    if best is None or best.test is None:
        return ["No run has finished: there is nothing to report yet."]
    if grid.seeds < 2:
        return [
            f"One seed: nothing can be concluded. {best.name} came first on validation, with"
            f" {formatting.mean_and_interval(best.test)} on test; other seeds may reverse this."
        ]
    sentences = [*_against_baseline(grid, best), *_against_others(grid)]
    candidates = sum(cell.val is not None for cell in grid.cells)
    if grid.optimism is not None and candidates > 1:
        sentences.append(
            f"It was chosen by validation among {candidates} cells; its mean there is"
            f" {formatting.points(grid.optimism)} points from its mean on test, which took no part"
            " in the choice."
        )
    return sentences


def _against_baseline(grid: Grid, best: Cell) -> list[str]:
    comparison = best.against_baseline
    if comparison is None or comparison.difference is None:
        accuracy = formatting.mean_and_interval(best.test)
        return [f"{best.name} came first on validation: {accuracy} on test."]
    if comparison.p_corrected is None:
        lack = "they share one seed" if comparison.n < 2 else "the seeds that both have do not vary"
        certainty = f"which nothing can test: {lack}"
    else:
        number = sum(cell.against_baseline is not None for cell in grid.cells)
        corrected = f", corrected over {number} comparisons" if number > 1 else ""
        certainty = (
            f"p {formatting.p_equals(comparison.p_corrected)} over {comparison.n} seeds{corrected}"
        )
    words = {"BEATS": "beats", "LOSES": "loses to", "TIED": "is not shown to differ from"}
    verdict = words.get(comparison.verdict or "", "is not compared with")
    difference = formatting.difference(comparison)
    sentences = [
        f"{best.name} {verdict} {grid.baselines[best.name]}: {difference} points on test,"
        f" {certainty}."
    ]
    if comparison.verdict == "TIED":
        seeds, reach = comparison.seeds_needed, formatting.percent(comparison.detectable)
        enough = "more than 1000 seeds" if seeds is None else f"about {seeds} seeds"
        sentences.append(
            f"{comparison.n} seeds find a difference of {reach} points four times out of five in a"
            f" single test; one as small as this one needs {enough}, and more than that among many"
            " cells."
        )
    return sentences


def _against_others(grid: Grid) -> list[str]:
    """How the other cells compare with the best one."""
    by_verdict: dict[str | None, list[str]] = {}
    for cell in grid.cells:
        if cell.against_best is not None:
            by_verdict.setdefault(cell.against_best.verdict, []).append(cell.name)
    untested = by_verdict.pop(None, [])
    tested = sum(map(len, by_verdict.values()))
    others = "the other cell" if tested == 1 else f"{tested} other cells"
    sentences = []
    for verdict, text in (
        ("BEATS", "Better than it on test"),
        ("TIED", "Statistically tied with it"),
    ):
        if names := by_verdict.get(verdict, []):
            counted = f", {len(names)} of {others}" if tested > 1 else ""
            sentences.append(f"{text}{counted}: {formatting.first_of(names)}.")
    if tested and not sentences:
        sentences.append(f"It is better than {others}.")
    if untested:
        cells = "1 other cell" if len(untested) == 1 else f"{len(untested)} other cells"
        sentences.append(f"Not compared with it, for lack of shared seeds or of spread: {cells}.")
    return sentences
