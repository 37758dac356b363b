"""The best run of a sweep by validation; test accuracies choose nothing."""

from pathlib import Path

from kdsweep.errors import UserError
from kdsweep.tracking.results_table import ResultRow, collect, is_duplicate, ranked


def best_run(sweep: Path, key: str) -> tuple[Path, ResultRow]:
    """The folder and the row of a sweep's best finished run: val/acc, ties by val/loss.

    Raises UserError, with the key that the sweep was given for, if no run has finished or none has
    a validation accuracy.
    """
    rows = ranked(row for row in collect(sweep) if row["status"] == "FINISHED")
    if not rows:
        raise UserError(f"{key} must be a sweep with a finished run, got {sweep}, which has none")
    best = rows[0]
    if best["val/acc"] is None:
        raise UserError(
            f"{key} must be a sweep with validation, by which its best run is chosen, got {sweep},"
            f" which has none; name a run, {sweep / str(best['run'])}"
        )
    return sweep / str(best["same_as"] or best["run"]), best


def only_run(sweep: Path, key: str) -> Path:
    """The folder of the run of a sweep of one. Raises UserError if it has several, or none."""
    runs = [str(row["run"]) for row in collect(sweep) if not is_duplicate(row)]
    if len(runs) == 1:
        return sweep / runs[0]
    if not runs:
        raise UserError(f"{key} must be a single run, got {sweep}, a sweep without runs")
    raise UserError(
        f"{key} must be a single run, got {sweep}, a sweep of {len(runs)}; {sweep}/best is the best"
        " by validation"
    )
