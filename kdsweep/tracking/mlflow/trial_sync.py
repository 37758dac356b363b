"""search.json and trial.json: what MLflow's runs of a search and of its trials are made from.

trial.json is in the trial's folder, above those of the trial's runs. Both are written before their
content goes to MLflow, so that `kdsweep sync` can make MLflow agree with them later.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from filelock import FileLock

from kdsweep.common.files import UPDATE_LOCK, read_json, write_json_atomic
from kdsweep.tracking import metadata
from kdsweep.tracking.metadata import SEARCH, TRIAL, read_trial_metadata
from kdsweep.tracking.mlflow import run_of_file
from kdsweep.tracking.mlflow.store import MLflowStore, Status, now_ms
from kdsweep.tracking.run_dir import Row


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


def sync_trial(folder: Path, store: MLflowStore) -> int:
    """Make MLflow agree with a trial.json; returns how many rows it lacked."""
    run_id = run_of_file.ensure_run(store, folder / TRIAL)
    trial = read_json(folder / TRIAL)
    rows = trial.get("rows", [])
    uploaded = store.log_missing(run_id, rows)
    if "status" in trial:
        store.set_tags(run_id, trial["tags"])
        store.finish(run_id, trial["status"], rows[-1]["time"] if rows else None)
        with UPDATE_LOCK:
            if read_json(folder / TRIAL) == trial:  # it has not ended otherwise since
                run_of_file.update_file(folder / TRIAL, trial["started"], {"shipped": True})
    return uploaded
