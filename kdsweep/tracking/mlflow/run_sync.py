"""The MLflow run of a run.json or a trial.json: found or created, filled, and closed.

Every function here may raise whatever MLflow raises; each can be repeated until MLflow has all.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from kdsweep.common.files import UPDATE_LOCK, read_json, write_json_atomic
from kdsweep.tracking import run_dir
from kdsweep.tracking.metadata import TRIAL, read_result, read_sweep_metadata, read_trial_metadata
from kdsweep.tracking.mlflow.logged_model import is_wanted, log_model
from kdsweep.tracking.mlflow.store import FOLDER_TAG, MLflowStore, Status
from kdsweep.tracking.result import RunResult

PRUNED_TAG = "kdsweep.pruned"
# MLflow has no state PRUNED; a tag has it.
STATES: dict[str, Status] = {status: status for status in get_args(Status)} | {"PRUNED": "KILLED"}
END_METRICS = ("val/acc_best", "epochs", "seconds")  # known once a run has ended, and only then
END_TAGS = {"reason": "kdsweep.reason", "weights_sha256": "kdsweep.weights_sha256"}
# A run that can be resumed has the same figures as tags: a metric's points cannot be taken back.
SO_FAR_TAGS = {key: f"kdsweep.so_far.{key}" for key in END_METRICS}
# Tags of how a run has ended; one that has been started again has none of them.
ENDED_TAGS = {*END_TAGS.values(), PRUNED_TAG, *SO_FAR_TAGS.values()}
LEVELS = 3  # from the folder of a trial down to that of a peer


def sync(folder: Path, store: MLflowStore, pictures: Iterable[Path] = ()) -> int:
    """Make MLflow agree with a run folder; returns how many rows it lacked.

    A run that MLflow has never seen is created. A folder without result.json keeps its run as it
    is: it may still be training. Raises ValueError for a folder that is no run folder.
    """
    if not (folder / run_dir.RUN).exists():
        raise ValueError(f"FOLDER must be a run folder (with a {run_dir.RUN}), got {folder}")
    run_id, _ = ensure_run(store, folder / run_dir.RUN)
    upload_start(store, run_id, folder)
    has_ended = read_result(folder) is not None  # before: only then these are all of its rows
    rows = run_dir.read_rows(folder)
    uploaded = store.log_missing(run_id, rows)
    if has_ended:
        upload_end(store, run_id, folder, pictures, rows[-1]["time"] if rows else None)
    return uploaded


def upload_start(store: MLflowStore, run_id: str, folder: Path) -> None:
    """Upload what is known of a run before its first epoch."""
    for name in (run_dir.CONFIG, run_dir.OVERRIDES):
        store.log_artifact(run_id, folder / name, "config")
    dataset = read_json(folder / run_dir.RUN).get("dataset")
    if dataset:
        store.log_dataset(run_id, dataset)


def upload_end(
    store: MLflowStore,
    run_id: str,
    folder: Path,
    pictures: Iterable[Path] = (),
    end_time_ms: int | None = None,
) -> None:
    """Upload what a run has ended with: its files, its figures, then its state, last of all."""
    run, rows = read_json(folder / run_dir.RUN), run_dir.read_rows(folder)
    result = read_result(folder)
    assert result is not None
    if result.mlflow_run_id != run_id:
        result = replace(result, mlflow_run_id=run_id)
        with suppress(OSError):
            write_json_atomic(folder / run_dir.RESULT, result.to_json())
    for name in (run_dir.WEIGHTS, run_dir.CLASSIFIER):
        if (folder / name).exists():
            store.log_artifact(run_id, folder / name, "checkpoint")
    for name in (run_dir.RESULT, run_dir.PREDICTIONS):
        if (folder / name).exists():
            store.log_artifact(run_id, folder / name)
    # The time of the last row is the same each time that the end is uploaded.
    _upload_outcome(store, run_id, result, rows[-1]["time"] if rows else int(run["started"]))
    if is_wanted(folder):
        log_model(store, run_id, folder)
    for picture in sorted({*pictures, *folder.glob("*.png")}):
        store.log_artifact(run_id, picture)
    store.finish(run_id, as_status(result.status), end_time_ms)
    update_file(folder / run_dir.RUN, run.get("started"), {"shipped": True})


def _upload_outcome(store: MLflowStore, run_id: str, result: RunResult, time_ms: int) -> None:
    """Upload what no epoch has logged, so that MLflow alone has all of result.json."""
    known = {key: value for key, value in result.to_json().items() if value is not None}
    metrics = {key: float(known[key]) for key in END_METRICS if key in known}
    tags = {tag: str(known[key]) for key, tag in END_TAGS.items() if key in known}
    if result.status == "PRUNED":  # MLflow has no such state
        tags[PRUNED_TAG] = "true"
    step = max((result.epochs or 0) - 1, 0)
    if result.status != "FINISHED":
        tags |= {SO_FAR_TAGS[key]: repr(value) for key, value in metrics.items()}
        metrics = {}
    store.log_outcome(
        run_id, {"epoch": step, "time": time_ms, "metrics": {**metrics}}, tags, ENDED_TAGS
    )


def as_status(status: str) -> Status:
    """MLflow's state for the status of a result. Raises ValueError for an unknown one."""
    if status not in STATES:
        raise ValueError(f"status must be one of {', '.join(get_args(Status))}, got {status}")
    return STATES[status]


def update_file(path: Path, started: object, facts: Mapping[str, object]) -> None:
    """Add to the file, unless its run has been started again since ``started``."""
    with UPDATE_LOCK:
        content = read_json(path)
        if content.get("started") == started:
            write_json_atomic(path, {**content, **facts})


def ensure_run(store: MLflowStore, path: Path, *, may_exist: bool = True) -> tuple[str, bool]:
    """The id of the file's MLflow run, and whether it had to be created; it is kept in the file.

    With `may_exist` a run is looked for that was created without its id being kept, because the
    process died or MLflow's response was lost.
    """
    content = read_json(path)
    run_id, started = content.get("mlflow_run_id"), content.get("started")
    if run_id and store.has_run(run_id):
        return str(run_id), False
    own, params = _own_tags(path, content), content.get("params") or {}
    facts: dict[str, object] = {}
    run_id = store.find_run(own) if may_exist else None
    if is_new := run_id is None:
        parent = _parent(store, path, content)
        run_id = store.create_run(
            name=content["name"],
            parent_id=parent,
            tags={**(content.get("tags") or {}), **own},
            params=params,
            start_time_ms=started,
        )
        if path.name != TRIAL:
            facts["parent_run_id"] = parent
    else:
        store.log_params(run_id, params)
    with suppress(OSError):  # a full disk: the run is found again by its tags
        update_file(path, started, {"mlflow_run_id": run_id, **facts})
    return run_id, is_new


def close_run(store: MLflowStore, path: Path, status: Status) -> None:
    """Set the state alone of a run whose end, or whose id, could not be written."""
    content = read_json(path)
    if run_id := content.get("mlflow_run_id") or store.find_run(_own_tags(path, content)):
        store.finish(run_id, status)


def find_trial_dir(run: Path) -> Path | None:
    """The folder of the trial that a run's folder is in; None if it is in none."""
    return next((f for f in list(run.parents)[:LEVELS] if read_trial_metadata(f) is not None), None)


def _own_tags(path: Path, content: Mapping[str, Any]) -> dict[str, str]:
    """The tags by which the file's MLflow run is found."""
    folder = {FOLDER_TAG: str(path.parent.absolute())}
    if path.name == TRIAL:
        return {**folder, "kdsweep.role": "trial"}
    return {**folder, "kdsweep.fingerprint": str(content["fingerprint"])}


def _parent(store: MLflowStore, path: Path, content: Mapping[str, Any]) -> str | None:
    """The MLflow run above the file's: of its trial, else of its sweep or search."""
    if path.name == TRIAL:
        content = read_sweep_metadata(path.parent.parent) or {}
    parent: str | None = content.get("parent_run_id")
    if parent is None and (trial := find_trial_dir(path.parent)) is not None:
        parent, _ = ensure_run(store, trial / TRIAL)  # if that has not been possible yet
    return parent
