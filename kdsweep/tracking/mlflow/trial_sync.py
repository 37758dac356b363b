"""search.json and trial.json: what MLflow's runs of a search and of its trials are made from.

trial.json is in the trial's folder, above those of the trial's runs. Both are written before their
content goes to MLflow, so that `kdsweep sync` can make MLflow agree with them later.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from kdsweep.common.files import UPDATE_LOCK, read_json, write_json_atomic
from kdsweep.tracking import metadata
from kdsweep.tracking.metadata import SEARCH, TRIAL, read_trial_metadata
from kdsweep.tracking.mlflow.store import FOLDER_TAG, MLflowStore, Status, now_ms
from kdsweep.tracking.run_dir import Row

LEVELS = 3  # from the folder of a trial down to that of a peer


def save_search_metadata(
    folder: Path, *, params: Mapping[str, object] | None = None, rows: Sequence[Row] = ()
) -> None:
    """Keep a search's params, or rows of its own metrics. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".search.lock"):  # two controllers may write at once
        search = metadata.read_search_metadata(folder) or {}
        search["params"] = dict(params or search.get("params", {}))
        search["rows"] = _with_times(rows or search.get("rows", []), search.get("rows", []))
        write_json_atomic(folder / SEARCH, search)


def sync_search(folder: Path, store: MLflowStore, run_id: str) -> int:
    """Make a search's run agree with its search.json; returns how many rows it lacked."""
    if (search := metadata.read_search_metadata(folder)) is None:
        return 0
    store.log_params(run_id, search["params"])
    return store.log_missing(run_id, search["rows"])


def begin_trial(
    folder: Path, name: str, tags: Mapping[str, str], params: Mapping[str, object]
) -> None:
    """Write trial.json; a trial that is resumed keeps its own. Raises OSError."""
    with UPDATE_LOCK:
        if read_trial_metadata(folder) is None:
            folder.mkdir(parents=True, exist_ok=True)
            trial = {"name": name, "tags": dict(tags), "params": dict(params), "started": now_ms()}
            write_json_atomic(folder / TRIAL, trial)


def end_trial(folder: Path, status: Status, tags: Mapping[str, str], rows: Sequence[Row]) -> None:
    """Write how a trial has ended; writing the same again changes nothing. Raises OSError."""
    with UPDATE_LOCK:
        trial = read_json(folder / TRIAL)
        ended = {
            "status": status,
            "tags": {**trial["tags"], **tags},
            "rows": _with_times(rows, trial.get("rows", [])),
        }
        if trial | ended != trial:
            write_json_atomic(folder / TRIAL, trial | ended | {"shipped": False})


def _with_times(rows: Sequence[Row], known: Sequence[Row]) -> list[Row]:
    """The rows, with the times of those that are known already: MLflow stores such a row once."""
    times = {(row["epoch"], *row["metrics"]): row["time"] for row in known}
    return [
        {**row, "time": times.get((row["epoch"], *row["metrics"]), row["time"])} for row in rows
    ]


def find_trial_dir(run: Path) -> Path | None:
    """The folder of the trial that a run's folder is in; None if it is in none."""
    return next((f for f in list(run.parents)[:LEVELS] if read_trial_metadata(f) is not None), None)


def is_pending(folder: Path) -> bool:
    """Whether a trial has ended and MLflow has not all of it."""
    trial = read_trial_metadata(folder) or {}
    return "status" in trial and not trial.get("shipped")


def read_run_id(folder: Path) -> str | None:
    """The id of a trial's run; None if MLflow has none yet."""
    run_id: str | None = (read_trial_metadata(folder) or {}).get("mlflow_run_id")
    return run_id


def ensure_trial(store: MLflowStore, folder: Path) -> str:
    """The MLflow run of a trial, created if the store has none."""
    trial = read_json(folder / TRIAL)
    run_id = trial.get("mlflow_run_id")
    if run_id and store.has_run(run_id):
        return str(run_id)
    own = _own_tags(folder)
    run_id = store.find_run(own) or store.create_run(
        name=trial["name"],
        parent_id=(metadata.read_sweep_metadata(folder.parent) or {}).get("parent_run_id"),
        tags={**trial["tags"], **own},
        params=trial["params"],
        start_time_ms=trial["started"],
    )
    with suppress(OSError):  # a full disk: the run is found again by its tags
        _update(folder, {"mlflow_run_id": run_id})
    return str(run_id)


def _own_tags(folder: Path) -> dict[str, str]:
    """The tags by which the MLflow run of a trial is found."""
    return {FOLDER_TAG: str(folder.absolute()), "kdsweep.role": "trial"}


def close_trial(folder: Path, status: Status, store: MLflowStore) -> None:
    """Set the state alone of a trial whose end could not be written."""
    if run_id := read_run_id(folder) or store.find_run(_own_tags(folder)):
        store.finish(run_id, status)


def sync_trial(folder: Path, store: MLflowStore) -> int:
    """Make MLflow agree with a trial.json; returns how many rows it lacked."""
    run_id = ensure_trial(store, folder)
    trial = read_json(folder / TRIAL)
    rows = trial.get("rows", [])
    store.log_params(run_id, trial["params"])
    uploaded = store.log_missing(run_id, rows)
    if "status" in trial:
        store.set_tags(run_id, trial["tags"])
        store.finish(run_id, trial["status"], rows[-1]["time"] if rows else None)
        _update(folder, {"shipped": True})
    return uploaded


def _update(folder: Path, changes: dict[str, Any]) -> None:
    with UPDATE_LOCK:
        write_json_atomic(folder / TRIAL, read_json(folder / TRIAL) | changes)
