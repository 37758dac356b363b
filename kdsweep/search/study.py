"""The study in its storage: the same space at every start, each trial owned by one process.

Trials are made waiting and then taken, and never more than asked for: so a search has exactly
`n_trials`, whoever starts it and however often.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import Engine, func, inspect, select
from sqlalchemy.exc import SQLAlchemyError

from kdsweep.common.passwords import redact_password, reveal
from kdsweep.common.processes import is_alive, owner
from kdsweep.errors import UserError
from kdsweep.search.optuna_internals import SearchStudy
from kdsweep.tracking.mlflow import connections
from kdsweep.tracking.mlflow.backend import first_line

OWNER = "kdsweep.owner"
BEAT_SECONDS = 30.0  # how often an owner shows that it lives
IDENTITY = "kdsweep.identity"
UNNOTED = {"numerics": 2}  # of a study whose identity did not say so yet
SETTINGS = "settings"  # of the identity: a table of keys, each compared by itself
NAMED = 3  # keys of a refusal that are named
# Tables that show whose a database is: Optuna's, MLflow's, and one that both would have.
STUDIES, MLFLOW, VERSION = "studies", "experiments", "alembic_version"
POSTGRES_LOCK = 0x6B6473  # the number of our advisory lock, "kds"; any that others do not use


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
        identity: what must stay as it is over all starts (space, seeds, objectives, settings).
        folder: the search's; its lock keeps two processes from creating a database together.

    Raises:
        UserError: if the storage cannot be used, or holds a study of another search.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    engine = engine_of(storage)
    with _storage_works(storage), _alone(engine, folder):
        _refuse_tables(storage, set(inspect(engine).get_table_names()))
        study = _create(storage, name, directions, pruner)
    with _alone(study.engine, folder):
        known = {**UNNOTED, **study.user_attrs.get(IDENTITY, {})} if study.user_attrs else {}
        stored = [direction.name.lower() for direction in study.directions]
        _refuse_change(
            name, {**known, "directions": stored}, {**identity, "directions": directions}
        )
        if identity.keys() - known.keys():  # a new study, or one made before we compared as much
            study.set_user_attr(IDENTITY, {**identity, **known})
    return study


def engine_of(storage: str) -> Engine:
    """The way to a database; it has not been gone yet.

    Raises:
        UserError: if the address is none, or its driver is missing.
    """
    with _storage_works(storage):
        return connections.engine_of(reveal(storage))


@contextmanager
def _storage_works(storage: str) -> Iterator[None]:
    """Say in one sentence what a database, or Optuna of its tables, complains of."""
    try:
        yield
    # A wrong port is a ValueError, tables of another Optuna are a RuntimeError.
    except (SQLAlchemyError, StorageInternalError, ImportError, ValueError, RuntimeError) as error:
        raise UserError(
            f"hydra.sweeper.storage must be a storage that works, got {redact_password(storage)}:"
            f" {_why_not(storage, error)}"
        ) from error


@contextmanager
def _alone(engine: Engine, folder: Path) -> Iterator[None]:
    """Inside, no other process creates tables, makes trials or takes them.

    The file keeps out whoever has the same folder, PostgreSQL also a host that has another one.
    Both free the lock of a process that dies.
    """
    with FileLock(folder / ".study.lock"), engine.begin() as connection:
        if engine.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(POSTGRES_LOCK)))
        yield


def _refuse_tables(storage: str, tables: set[str]) -> None:
    """Refuse a database that is another program's, before Optuna puts its tables into it.

    Raises:
        UserError: naming the address.
    """
    others = tables if storage.startswith("sqlite") else tables & {VERSION}
    if MLFLOW in tables or (others and STUDIES not in tables):
        whose = "MLflow" if MLFLOW in tables else "another program"
        raise UserError(
            f"hydra.sweeper.storage must be a database of its own, got {redact_password(storage)},"
            f" which belongs to {whose}; try sqlite:///optuna.db"
        )


def _create(
    storage: str, name: str, directions: list[str], pruner: optuna.pruners.BasePruner
) -> SearchStudy:
    """The study, made with its tables if they are not there yet."""
    # Between two writes lie minutes of training; a server may have closed the connection.
    address = connections.bounded(reveal(storage))
    opened = optuna.storages.get_storage(RDBStorage(address, {"pool_pre_ping": True}))
    optuna.create_study(
        study_name=name,
        storage=opened,
        directions=[StudyDirection[direction.upper()] for direction in directions],
        load_if_exists=True,
    )
    study = SearchStudy(name, opened, pruner=pruner)
    study.get_trials(deepcopy=False)  # the storage's cache must know them before it writes
    return study


def _why_not(storage: str, error: Exception) -> str:
    if isinstance(error, ImportError) and storage.startswith("postgresql:"):
        return "its driver is missing; pip install 'kdsweep[postgres]'"
    return first_line(error)


def _refuse_change(name: str, known: dict[str, Any], wanted: dict[str, Any]) -> None:
    changed = list(_changes(known, json.loads(json.dumps(wanted, default=str))))
    if not changed:
        return
    (key, old, new), *others = changed
    said = [f"{key} of the search {name} must stay {old}, got {new}"]
    said += [f"{key} must stay {old}, got {new}" for key, old, new in others[: NAMED - 1]]
    if more := len(changed) - len(said):
        said.append(f"and {more} more")
    raise UserError(f"{'; '.join(said)}; another search.name begins another search")


def _changes(known: dict[str, Any], wanted: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """(key, old, new) of what differs; what a study was made without is no difference."""
    for key, value in wanted.items():
        if key != SETTINGS and key in known and known[key] != value:
            yield key, known[key], value
    old, new = (identity.get(SETTINGS, {}) for identity in (known, wanted))
    for key in {**old, **new} if old else {}:
        if old.get(key) != new.get(key):
            yield key, old.get(key), new.get(key)


def enqueue(study: SearchStudy, n_trials: int, folder: Path) -> None:
    """Make trials wait until the study has `n_trials`."""
    with _alone(study.engine, folder):
        for _ in range(len(study.trials), n_trials):
            study.add_trial(create_trial(state=TrialState.WAITING))


def claim(study: SearchStudy, n_trials: int, block: int, folder: Path) -> list[int]:
    """Take the trials of the next block that nobody works on; none if there is no such block.

    Blocks are fixed ranges of trial numbers, so that a search that was killed goes on with the
    very batch it was at: its suggestions then do not depend on interruptions.
    """
    with _alone(study.engine, folder):
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


def _is_free(trial: FrozenTrial) -> bool:
    if trial.state is TrialState.WAITING:
        return True
    return trial.state is TrialState.RUNNING and not is_alive(trial.user_attrs.get(OWNER))
