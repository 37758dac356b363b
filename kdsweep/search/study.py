"""The study in its storage: opened or created at every start, and refused if it is another search.

Which process works on which of its trials is in `kdsweep.search.lease`.
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
from sqlalchemy import Engine, func, inspect, select
from sqlalchemy.exc import SQLAlchemyError

from kdsweep.common.passwords import redact_password, reveal
from kdsweep.common.text import first_line
from kdsweep.common.validation import shown
from kdsweep.errors import UserError
from kdsweep.search.optuna_internals import SearchStudy
from kdsweep.search.space_text import space_changes
from kdsweep.tracking.mlflow import connections

IDENTITY = "kdsweep.runs.fingerprint"
IDENTITY_DEFAULTS = {"numerics": 2}  # of a study that was created before these were recorded
# What messages call parts of the identity that are no keys.
NAMES = {"numerics": "the numerics (raised by versions of kdsweep that compute other numbers)"}
SPACE = "space"  # of the identity: the searched keys
SETTINGS = "settings"  # of the identity: a table of keys, each compared by itself
LOCK = ".study.lock"
MAX_LISTED = 3  # changed keys that a refusal lists
# Tables that show which program a database belongs to: Optuna, MLflow, and one that both have.
STUDIES, MLFLOW, VERSION = "studies", "experiments", "alembic_version"
POSTGRES_LOCK = 0x6B6473  # the number of the advisory lock, "kds"; any that no other program uses


def open_study(
    storage: str,
    name: str,
    directions: list[str],
    identity: dict[str, Any],
    pruner: optuna.pruners.BasePruner,
    folder: Path,
) -> SearchStudy:
    """The study of a search, created with its storage if they do not exist yet.

    ``identity`` must stay as it is over all starts (space, seeds, objectives, settings). A lock in
    the search's folder keeps two processes from creating a database together. Raises UserError if
    the storage cannot be used, or holds a study of another search.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    engine = engine_of(storage)
    with _storage_errors(storage), exclusive_lock(engine, folder):
        _refuse_tables(storage, set(inspect(engine).get_table_names()))
        study = _create(storage, name, directions, pruner)
    with exclusive_lock(study.engine, folder):
        attrs = study.user_attrs
        stored = {**IDENTITY_DEFAULTS, **attrs.get(IDENTITY, {})} if attrs else {}
        stored_directions = [direction.name.lower() for direction in study.directions]
        _refuse_change(
            name,
            {**stored, "directions": stored_directions},
            {**identity, "directions": directions},
        )
        if identity.keys() - stored.keys():  # a new study, or one of a version that stored less
            study.set_user_attr(IDENTITY, {**identity, **stored})
    return study


def engine_of(storage: str) -> Engine:
    """An engine, not connected yet. Raises UserError for an invalid address or missing driver."""
    with _storage_errors(storage):
        return connections.engine_of(reveal(storage))


@contextmanager
def _storage_errors(storage: str) -> Iterator[None]:
    """Turn errors of a database, or of Optuna about its tables, into a UserError."""
    try:
        yield
    # A wrong port is a ValueError, tables of another Optuna are a RuntimeError.
    except (SQLAlchemyError, StorageInternalError, ImportError, ValueError, RuntimeError) as error:
        why = first_line(error)
        if isinstance(error, ImportError) and storage.startswith("postgresql:"):
            why = "its driver is missing; pip install 'kdsweep[postgres]'"
        raise UserError(
            f"hydra.sweeper.storage must be a storage that works, got {redact_password(storage)}:"
            f" {why}"
        ) from error


@contextmanager
def exclusive_lock(engine: Engine, folder: Path) -> Iterator[None]:
    """Inside, no other process creates tables, queues trials or claims them.

    The file locks out processes with the same folder, PostgreSQL also hosts with another one.
    Both free the lock of a process that dies.
    """
    with FileLock(folder / LOCK), engine.begin() as connection:
        if engine.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(POSTGRES_LOCK)))
        yield


def _refuse_tables(storage: str, tables: set[str]) -> None:
    """Refuse a database of another program, before Optuna creates its tables in it."""
    others = tables if storage.startswith("sqlite") else tables & {VERSION}
    if MLFLOW in tables or (others and STUDIES not in tables):
        program = "MLflow" if MLFLOW in tables else "another program"
        raise UserError(
            "hydra.sweeper.storage must be a database of its own, got"
            f" {redact_password(storage)}, which belongs to {program}; try sqlite:///optuna.db"
        )


def _create(
    storage: str, name: str, directions: list[str], pruner: optuna.pruners.BasePruner
) -> SearchStudy:
    """The study, created with its tables if they do not exist yet."""
    address = connections.bounded(reveal(storage))
    # Minutes of training lie between two writes; a server may have closed the connection.
    opened = optuna.storages.get_storage(RDBStorage(address, {"pool_pre_ping": True}))
    optuna.create_study(
        study_name=name,
        storage=opened,
        directions=[StudyDirection[direction.upper()] for direction in directions],
        load_if_exists=True,
    )
    study = SearchStudy(name, opened, pruner=pruner)
    study.get_trials(deepcopy=False)  # the storage must have cached them before it writes
    return study


def _refuse_change(name: str, stored: dict[str, Any], identity: dict[str, Any]) -> None:
    changed = list(_changes(stored, json.loads(json.dumps(identity, default=str))))
    if not changed:
        return
    texts = [(NAMES.get(key, key), _text(old), _text(new)) for key, old, new in changed]
    (key, old, new), *others = texts
    messages = [f"{key} of the search {name} must stay {old}, got {new}"]
    messages += [f"{key} must stay {old}, got {new}" for key, old, new in others[: MAX_LISTED - 1]]
    if more := len(changed) - len(messages):
        messages.append(f"and {more} more")
    raise UserError(f"{'; '.join(messages)}; another search.name begins another search")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else shown(value)


def _changes(stored: dict[str, Any], identity: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """(key, old, new) of what differs; what a study was created without is no difference."""
    for key, value in identity.items():
        if key not in (SETTINGS, SPACE) and key in stored and stored[key] != value:
            yield key, stored[key], value
    if SPACE in stored:
        yield from space_changes(stored[SPACE], identity.get(SPACE, {}))
    old, new = (values.get(SETTINGS, {}) for values in (stored, identity))
    for key in {**old, **new} if old else {}:
        if old.get(key) != new.get(key):
            yield key, old.get(key), new.get(key)
