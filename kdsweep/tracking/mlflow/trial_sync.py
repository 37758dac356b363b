"""search.json and trial.json: what MLflow's runs of a search and of its trials are made from.

A trial's note is in the trial's folder, above those of the trial's runs. Both are written before
MLflow hears of what is in them, so that `kdsweep sync` can make MLflow agree with them later.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from kdsweep.common.files import UPDATE_LOCK, read_json, write_json_atomic
from kdsweep.tracking.metadata import SEARCH, TRIAL, search_note, sweep_note, trial_note
from kdsweep.tracking.mlflow.store import FOLDER_TAG, MLflowStore, Status, now_ms
from kdsweep.tracking.run_dir import Row

LEVELS = 3  # a peer's folder is so far below its trial's


def note_search(
    folder: Path, *, params: Mapping[str, object] | None = None, rows: Sequence[Row] = ()
) -> None:
    """Note a search's params, or rows of its own metrics. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".search.lock"):  # two controllers may note something at once
        note = search_note(folder) or {}
        note["params"] = dict(params or note.get("params", {}))
        note["rows"] = _with_times(rows or note.get("rows", []), note.get("rows", []))
        write_json_atomic(folder / SEARCH, note)


def sync_search(folder: Path, store: MLflowStore, run_id: str) -> int:
    """Make a search's run agree with its note; returns how many rows it lacked."""
    if (note := search_note(folder)) is None:
        return 0
    store.log_params(run_id, note["params"])
    return store.log_missing(run_id, note["rows"])


def begin_trial(
    folder: Path, name: str, tags: Mapping[str, str], params: Mapping[str, object]
) -> None:
    """Write the note of a trial that begins; one that is resumed keeps its own. Raises OSError."""
    with UPDATE_LOCK:
        if trial_note(folder) is None:
            folder.mkdir(parents=True, exist_ok=True)
            note = {"name": name, "tags": dict(tags), "params": dict(params), "started": now_ms()}
            write_json_atomic(folder / TRIAL, note)


def end_trial(folder: Path, status: Status, tags: Mapping[str, str], rows: Sequence[Row]) -> None:
    """Write how a trial has ended; writing the same again changes nothing. Raises OSError."""
    with UPDATE_LOCK:
        note = read_json(folder / TRIAL)
        ended = {
            "status": status,
            "tags": {**note["tags"], **tags},
            "rows": _with_times(rows, note.get("rows", [])),
        }
        if note | ended != note:
            write_json_atomic(folder / TRIAL, note | ended | {"shipped": False})


def _with_times(rows: Sequence[Row], known: Sequence[Row]) -> list[Row]:
    """The rows, with the times of those that are known already: MLflow stores such a row once."""
    times = {(row["epoch"], *row["metrics"]): row["time"] for row in known}
    return [
        {**row, "time": times.get((row["epoch"], *row["metrics"]), row["time"])} for row in rows
    ]


def trial_of(run: Path) -> Path | None:
    """The folder of the trial that a run's folder is in; None if it is in none."""
    return next((f for f in list(run.parents)[:LEVELS] if trial_note(f) is not None), None)


def is_lacking(folder: Path) -> bool:
    """Whether a trial has ended and MLflow has not all of it."""
    note = trial_note(folder) or {}
    return "status" in note and not note.get("shipped")


def run_id_of(folder: Path) -> str | None:
    """The id of a trial's run; None if MLflow has none yet."""
    found: str | None = (trial_note(folder) or {}).get("mlflow_run_id")
    return found


def ensure_trial(store: MLflowStore, folder: Path) -> str:
    """The MLflow run of a trial, created if the store has none."""
    note = read_json(folder / TRIAL)
    known = note.get("mlflow_run_id")
    if known and store.has_run(known):
        return str(known)
    own = _own_tags(folder)
    run_id = store.find_run(own) or store.create_run(
        name=note["name"],
        parent_id=(sweep_note(folder.parent) or {}).get("parent_run_id"),
        tags={**note["tags"], **own},
        params=note["params"],
        start_time_ms=note["started"],
    )
    with suppress(OSError):  # a full disk: the run is found again by its tags
        _add(folder, {"mlflow_run_id": run_id})
    return run_id


def _own_tags(folder: Path) -> dict[str, str]:
    """The tags by which the MLflow run of a trial is found."""
    return {FOLDER_TAG: str(folder.absolute()), "kdsweep.role": "trial"}


def close_trial(folder: Path, status: Status, store: MLflowStore) -> None:
    """Set the state alone of a trial whose end could not be written."""
    if run_id := run_id_of(folder) or store.find_run(_own_tags(folder)):
        store.finish(run_id, status)


def sync_trial(folder: Path, store: MLflowStore) -> int:
    """Make MLflow agree with the note of a trial; returns how many rows it lacked."""
    run_id = ensure_trial(store, folder)
    note = read_json(folder / TRIAL)
    rows = note.get("rows", [])
    store.log_params(run_id, note["params"])
    shipped = store.log_missing(run_id, rows)
    if "status" in note:
        store.set_tags(run_id, note["tags"])
        store.finish(run_id, note["status"], rows[-1]["time"] if rows else None)
        _add(folder, {"shipped": True})
    return shipped


def _add(folder: Path, facts: dict[str, Any]) -> None:
    with UPDATE_LOCK:
        write_json_atomic(folder / TRIAL, read_json(folder / TRIAL) | facts)
