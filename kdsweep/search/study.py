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
from optuna.study import StudyDirection

from kdsweep.common.passwords import redact_password
from kdsweep.common.validation import shown
from kdsweep.errors import UserError
from kdsweep.search.optuna_internals import SearchStudy
from kdsweep.search.space_text import space_changes
from kdsweep.search.storage import StudyStorage, storage_at, storage_errors

IDENTITY = "kdsweep.runs.fingerprint"
IDENTITY_DEFAULTS = {"numerics": 2}  # of a study that was created before these were recorded
# What messages call parts of the identity that are no keys.
NAMES = {"numerics": "the numerics (raised by versions of kdsweep that compute other numbers)"}
SPACE = "space"  # of the identity: the searched keys
SETTINGS = "settings"  # of the identity: a table of keys, each compared by itself
LOCK = ".study.lock"
MAX_LISTED = 3  # changed keys that a refusal lists


def open_study(
    address: str,
    name: str,
    directions: list[str],
    identity: dict[str, Any],
    pruner: optuna.pruners.BasePruner,
    folder: Path,
) -> SearchStudy:
    """The study of a search at an address, created with its storage if they do not exist yet.

    ``identity`` must stay as it is over all starts (space, seeds, objectives, settings). A lock in
    the search's folder keeps two processes from creating a database together. Raises UserError if
    the storage cannot be used, or holds a study of another search.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = storage_at(address)
    with storage_errors(address), exclusive_lock(storage, folder):
        _refuse_owned(storage, address)
        study = _create(storage, name, directions, pruner)
    with exclusive_lock(storage, folder):
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


@contextmanager
def exclusive_lock(storage: StudyStorage, folder: Path) -> Iterator[None]:
    """Inside, no other process creates tables, queues trials or claims them.

    The file locks out processes with the same folder, PostgreSQL and a journal also hosts with
    another one.
    """
    with FileLock(folder / LOCK), storage.lock():
        yield


def _refuse_owned(storage: StudyStorage, address: str) -> None:
    """Refuse a storage of another program, before Optuna writes to it."""
    if (program := storage.owner()) is not None:
        raise UserError(
            f"hydra.sweeper.storage must be a {storage.kind} of its own, got"
            f" {redact_password(address)}, which belongs to {program}; try {storage.example}"
        )


def _create(
    storage: StudyStorage, name: str, directions: list[str], pruner: optuna.pruners.BasePruner
) -> SearchStudy:
    """The study, created with its storage if they do not exist yet."""
    opened = storage.open()
    optuna.create_study(
        study_name=name,
        storage=opened,
        directions=[StudyDirection[direction.upper()] for direction in directions],
        load_if_exists=True,
    )
    study = SearchStudy(name, opened, storage, pruner=pruner)
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
