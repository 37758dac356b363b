"""The sweep that the user names: by its folder, its name under multirun/, or its id in MLflow."""

import re
from pathlib import Path

from kdsweep.errors import UserError
from kdsweep.tracking.metadata import SWEEP, sweeps_under

MULTIRUN = Path("multirun")
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
    for folder, note in sweeps_under(MULTIRUN).items():
        if str(note["parent_run_id"] or "").startswith(word):
            return folder
    return None


def sweep_folder(word: str) -> Path | None:
    """The folder of a sweep by its path, also relative to multirun/; None if there is none."""
    return next((folder for folder in _folders(word) if (folder / SWEEP).is_file()), None)


def named_folder(word: str) -> Path | None:
    """A folder of anything by its path, also relative to multirun/; None if there is none."""
    return next((folder for folder in _folders(word) if folder.is_dir()), None)


def _folders(word: str) -> list[Path]:
    return [Path(word), MULTIRUN / word] if word else []


def latest_sweep(otherwise: str = "SWEEP must be a sweep's folder, got none") -> Path:
    """The folder of the sweep that was started last.

    Raises UserError, beginning with what is ``otherwise`` the case, if there is none.
    """
    created = {folder: note["created"] for folder, note in sweeps_under(MULTIRUN).items()}
    if not created:
        raise UserError(f"{otherwise}, and {MULTIRUN} holds no sweep")
    return max(created, key=lambda folder: (created[folder], folder))


def sweep_of(run: Path) -> Path | None:
    """The folder of the sweep or the search that a run's folder is in; None if it is in none.

    It is just above a run's, in a search one above its trial's; a peer's folder is two below that
    of its run.
    """
    above = list(run.absolute().parents)[:LEVELS]
    return next((folder for folder in above if (folder / SWEEP).is_file()), None)
