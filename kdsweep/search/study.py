"""The study in its storage: the same space at every start, each trial owned by one process.

Trials are made waiting and then taken, and never more than asked for: so a search has exactly
`n_trials`, whoever starts it and however often.
"""

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from kdsweep.errors import UserError
from kdsweep.search.hydra_optuna import SearchStudy
from kdsweep.tracking.database import first_line

OWNER = "kdsweep.owner"
BEAT_SECONDS = 30.0  # how often an owner on another host shows that it lives ...
STALE_SECONDS = 1800.0  # ... and after how long a silence it is taken for dead
IDENTITY = "kdsweep.identity"


def open_study(
    storage: str,
    name: str,
    directions: list[str],
    identity: dict[str, Any],
    pruner: optuna.pruners.BasePruner,
    folder: Path,
) -> SearchStudy:
    """The study of a search, created with its storage if they are not there yet.

    Args:
        identity: what must stay as it is over all starts (space, seeds, objectives).
        folder: the search's; its lock keeps two processes from creating a database together.

    Raises:
        UserError: if the storage cannot be used, or holds a study of another space or direction.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with FileLock(folder / ".study.lock"):
        try:
            opened = optuna.storages.get_storage(storage)
            optuna.create_study(
                study_name=name,
                storage=opened,
                directions=[StudyDirection[direction.upper()] for direction in directions],
                load_if_exists=True,
            )
            study = SearchStudy(name, opened, pruner=pruner)
            study.get_trials(deepcopy=False)  # the storage's cache must know them before it writes
        except Exception as error:
            raise UserError(
                f"hydra.sweeper.storage must be a storage that works, got {storage}:"
                f" {first_line(error)}"
            ) from error
        known = study.user_attrs.get(IDENTITY, {})
        stored = [direction.name.lower() for direction in study.directions]
        _refuse_change(
            name, {**known, "directions": stored}, {**identity, "directions": directions}
        )
        if not known:
            study.set_user_attr(IDENTITY, identity)
    return study


def _refuse_change(name: str, known: dict[str, Any], wanted: dict[str, Any]) -> None:
    for key, value in wanted.items():
        if key in known and json.dumps(known[key], sort_keys=True) != json.dumps(
            value, sort_keys=True
        ):
            raise UserError(
                f"{key} of the search {name} must stay {known[key]}, got {value};"
                " another search.name begins another search"
            )


def enqueue(study: SearchStudy, n_trials: int, folder: Path) -> None:
    """Make trials wait until the study has `n_trials`."""
    with FileLock(folder / ".study.lock"):
        for _ in range(len(study.trials), n_trials):
            study.add_trial(create_trial(state=TrialState.WAITING))


def claim(study: SearchStudy, n_trials: int, block: int, folder: Path) -> list[int]:
    """Take the trials of the next block that nobody works on; none if there is no such block.

    Blocks are fixed ranges of trial numbers, so that a search that was killed goes on with the
    very batch it was at: its suggestions then do not depend on interruptions.
    """
    with FileLock(folder / ".study.lock"):
        trials = study.get_trials(deepcopy=False)[:n_trials]
        free = [trial for trial in trials if _is_free(trial)]
        if not free:
            return []
        first = free[0].number // block
        mine = [t for t in free if t.number // block == first]
        return [trial.number for trial in mine if _take(study, trial)]


def _take(study: SearchStudy, trial: FrozenTrial) -> bool:
    # Noted before as well: a controller that shares the storage but not the lock must never see
    # a trial that runs and belongs to nobody.
    study.note(trial.number, OWNER, owner())
    if trial.state is TrialState.WAITING and not study.take(trial.number):
        return False
    study.note(trial.number, OWNER, owner())
    return True


def park(study: SearchStudy, numbers: list[int]) -> None:
    """Leave trials to whoever comes next; they go on from their checkpoints."""
    for trial in study.get_trials(deepcopy=False):
        if trial.number in numbers and trial.state is TrialState.RUNNING:
            study.note(trial.number, OWNER, None)


def owner() -> dict[str, Any]:
    """This process, as other processes can recognise it."""
    pid = os.getpid()
    return {"host": socket.gethostname(), "pid": pid, "born": _born(pid), "beat": time.time()}


def _is_free(trial: FrozenTrial) -> bool:
    if trial.state is TrialState.WAITING:
        return True
    return trial.state is TrialState.RUNNING and not _is_alive(trial.user_attrs.get(OWNER))


def _is_alive(known: dict[str, Any] | None) -> bool:
    if known is None:
        return False
    if known["host"] != socket.gethostname():
        return bool(time.time() - known["beat"] < STALE_SECONDS)
    if known["pid"] == os.getpid():
        return bool(known["born"] == _born(os.getpid()))
    try:
        os.kill(known["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return bool(known["born"] == _born(known["pid"]))  # a new process may have the old number


def _born(pid: int) -> str | None:
    """When a process of this host was started, in ticks since boot; None where nobody tells."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None
