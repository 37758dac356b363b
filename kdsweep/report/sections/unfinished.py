"""The runs that are in no mean: failed, pruned, killed, still running, never started."""

from kdsweep.report.analysis.aggregate import Grid
from kdsweep.report.formatting import first_of
from kdsweep.report.sections.section import Line, Section, Table
from kdsweep.report.sources.collection import RunCollection

TITLE = "Runs that are in no mean"
MOST_RUNS = 30
MEANINGS = {
    "FAILED": "ended by an error",
    "PRUNED": "stopped early, as it was behind",
    "KILLED": "stopped from outside",
    "RUNNING": "still training, or its process died",
}
NEVER_STARTED = "requested in sweep.json, and without a folder"


def section(collection: RunCollection, grid: Grid) -> Section | None:
    """The runs with their reasons; None if all have finished."""
    rows = [row for row in collection.rows if row["same_as"] is None]
    lines: list[Line] = []
    for row in (row for row in rows if row["status"] != "FINISHED"):
        reason = row.get("reason") or MEANINGS.get(row["status"], "")
        seed = "" if row["seed"] is None else row["seed"]
        texts = (row.get("run", ""), row["cell"] or "", seed, row["status"], reason)
        lines.append(tuple(map(str, texts)))
    lines += [(name, "", "", "MISSING", NEVER_STARTED) for name in collection.missing]
    if not lines:
        return None
    sentences = [f"{len(lines)} of {len(rows) + len(collection.missing)} runs have no result."]
    short = [
        f"{cell.name} (n={cell.test.n})"
        for cell in grid.cells
        if cell.test and cell.test.n < grid.seeds
    ]
    if short:
        sentences.append(f"Cells with fewer seeds than others: {first_of(short)}.")
    if len(lines) > MOST_RUNS:
        sentences.append(f"The first {MOST_RUNS} are listed; results.csv has all that started.")
    table = Table(("run", "cell", "seed", "status", "why"), lines[:MOST_RUNS])
    return Section(TITLE, sentences, [table])
