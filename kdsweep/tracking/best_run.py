"""Sweeps that the user names, and their best run by validation; test accuracies choose nothing."""

import re
from pathlib import Path

from kdsweep.errors import UserError
from kdsweep.tracking.metadata import SWEEP, read_sweep_metadata
from kdsweep.tracking.results_table import ResultRow, collect, is_duplicate, ranked

HOME = Path("multirun")
SHORT_ID = re.compile(r"[0-9a-f]{4,32}")
LEVELS = 4  # from the folder of a sweep down to that of a run, or of its peer in a search


def find_sweep(word: str) -> Path | None:
    """The folder of the sweep or search that the user names; None if there is none.

    A word is its folder, its name under multirun/, or the id of its run in MLflow, which may be
    shortened.
    """
    if (folder := sweep_folder(word)) is not None:
        return folder
    if not SHORT_ID.fullmatch(word):
        return None
    for note in sorted(HOME.glob(f"**/{SWEEP}")):
        parent = (read_sweep_metadata(note.parent) or {}).get("parent_run_id")
        if parent is not None and str(parent).startswith(word):
            return note.parent
    return None


def sweep_folder(word: str) -> Path | None:
    """The folder of a sweep by its path, also relative to multirun/; None if there is none."""
    folders = (Path(word), HOME / word)
    return next((folder for folder in folders if word and (folder / SWEEP).is_file()), None)


def sweep_of(run: Path) -> Path | None:
    """The folder of the sweep or the search that a run's folder is in; None if it is in none.

    It is just above a run's, in a search one above its trial's; a peer's folder is two below that
    of its run.
    """
    above = list(run.absolute().parents)[:LEVELS]
    return next((folder for folder in above if (folder / SWEEP).is_file()), None)


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
