"""The MLflow run of a run.json or a trial.json: found or created, filled, and closed.

Every function here may raise whatever MLflow raises; each can be repeated until MLflow has all.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from filelock import FileLock, Timeout

from kdsweep.common.files import UPDATE_LOCK, read_json, write_json_atomic
from kdsweep.tracking import run_dir
from kdsweep.tracking.metadata import TRIAL, read_result, read_sweep_metadata, read_trial_metadata
from kdsweep.tracking.mlflow.entities import mlflow_key, tag_values
from kdsweep.tracking.mlflow.logged_model import OpenModel, is_wanted, open_model
from kdsweep.tracking.mlflow.run_state import Logged, RunState
from kdsweep.tracking.mlflow.store import FOLDER_TAG, MLflowStore, Status
from kdsweep.tracking.result import RunResult
from kdsweep.tracking.run_dir import Row

PRUNED_TAG = "kdsweep.pruned"
# MLflow has no state PRUNED; a tag has it.
STATES: dict[str, Status] = {status: status for status in get_args(Status)} | {"PRUNED": "KILLED"}
END_METRICS = ("val/acc_best", "epochs", "seconds")  # known once a run has ended, and only then
END_TAGS = {"reason": "kdsweep.reason", "weights_sha256": "kdsweep.weights_sha256"}
# A run that can be resumed has the same figures as tags: a metric's points cannot be taken back.
SO_FAR_TAGS = {key: f"kdsweep.so_far.{key}" for key in END_METRICS}
# Tags of how a run has ended; one that has been started again has none of them.
ENDED_TAGS = {*END_TAGS.values(), PRUNED_TAG, *SO_FAR_TAGS.values()}
LOCK = ".mlflow.lock"
LOCK_SECONDS = 60.0  # how long another process may upload a run
LEVELS = 3  # from the folder of a trial down to that of a peer


@contextmanager
def no_other_uploads(folder: Path) -> Iterator[None]:
    """Inside, no other process creates or fills the MLflow run of a folder: there would be two.

    Sweeps that wait for one teacher all upload it, and controllers of a search each other's runs.
    """
    lock = FileLock(folder / LOCK, timeout=LOCK_SECONDS)
    try:
        lock.acquire()
    except Timeout:
        raise
    except OSError:  # a full disk has no room for the lock
        pass
    try:
        yield
    finally:
        lock.release()


def sync(folder: Path, store: MLflowStore, pictures: Iterable[Path] = ()) -> int:
    """Make MLflow agree with a run folder; returns how many rows it lacked.

    A run that MLflow has never seen is created. A folder without result.json keeps its run as it
    is: it may still be training. Raises ValueError for a folder that is no run folder.
    """
    if not (folder / run_dir.RUN).exists():
        raise ValueError(f"FOLDER must be a run folder (with a {run_dir.RUN}), got {folder}")
    with no_other_uploads(folder):
        return sync_run(folder, store, pictures)[1]


def sync_run(
    folder: Path, store: MLflowStore, pictures: Iterable[Path] = ()
) -> tuple[RunState, int]:
    """As `sync`, inside `no_other_uploads`; returns the state of the run as well."""
    result = read_result(folder)  # before the rows: only then these are all of its rows
    rows = run_dir.read_rows(folder)
    run, is_new = find_or_create(store, folder / run_dir.RUN, ended=result)
    if not is_new:
        run.points = store.points(run.run_id, run.latest)
    end = rows[-1]["time"] if rows else None
    _, missing = upload(
        store, lambda: run, folder, rows, result, pictures=pictures, end_time_ms=end
    )
    logged = {
        (mlflow_key(key), row["epoch"]): Logged(row["time"], value)
        for row in rows
        for key, value in row["metrics"].items()
        if value is not None
    }
    run.points = logged | run.points
    return run, missing


def upload(
    store: MLflowStore,
    find: Callable[[], RunState],
    folder: Path,
    rows: Sequence[Row],
    result: RunResult | None,
    *,
    with_start: bool = True,
    pictures: Iterable[Path] = (),
    end_time_ms: int | None = None,
) -> tuple[RunState, int]:
    """Upload what MLflow lacks of a run, in one batch.

    Returns the state of the run, and how many rows that were.

    Args:
        find: returns what MLflow has of it; a run that it creates is part of the batch.
        rows: those that MLflow may lack.
        result: of a run that has ended, whose state is set last of all.
        with_start: whether it may lack what is known before the first epoch.
        pictures: of a run that has ended, with those in its folder.
        end_time_ms: when it ended; by default now.
    """
    _ensure_trial(store, folder)  # may wait for another process, which may wait for the database
    with store.one_commit():
        run = find()
        content, missing = read_json(folder / run_dir.RUN), run.missing_rows(rows)
        params: Mapping[str, object] = {}
        if with_start:
            params = run.missing_params(content.get("params") or {})
            if dataset := content.get("dataset"):
                store.log_dataset(run.run_id, dataset)
        if result is None:
            store.log(run.run_id, params=params, rows=missing)
        else:
            model = _log_end(store, run, folder, result, params, missing)
    if with_start:
        for name in (run_dir.CONFIG, run_dir.OVERRIDES):
            store.log_artifact(run.run_id, folder / name, "config")
    if result is None:
        return run, len(missing)
    _upload_files(store, run.run_id, folder, result, pictures)
    if model is not None:
        model.upload_files()
    with store.one_commit():
        if model is not None:
            model.finish()
        store.finish(run.run_id, as_status(result.status), end_time_ms)
    run.is_new = False
    facts = {"mlflow_run_id": run.run_id, "shipped": True}
    update_file(folder / run_dir.RUN, content.get("started"), facts)
    return run, len(missing)


def _ensure_trial(store: MLflowStore, folder: Path) -> None:
    """Create the MLflow run of the trial that a run belongs to, if that was not possible yet."""
    has_parent = read_json(folder / run_dir.RUN).get("parent_run_id") is not None
    if not has_parent and (trial := find_trial_dir(folder)) is not None:
        ensure_run(store, trial / TRIAL)


def _log_end(
    store: MLflowStore,
    run: RunState,
    folder: Path,
    result: RunResult,
    params: Mapping[str, object],
    rows: Sequence[Row],
) -> OpenModel | None:
    """Log params and rows with the figures that a run has ended with, those of its model included.

    Returns the model, which has no files yet; None if it needs or lacks nothing.
    """
    tags = end_tags(result)
    for key in (run.tags.keys() & ENDED_TAGS) - tags.keys():
        store.client.delete_tag(run.run_id, key)
    model = _open_model(store, run, folder)
    store.log(
        run.run_id,
        params=params,
        rows=[*rows, *_outcome(run, folder, result)],
        tags={key: value for key, value in tags.items() if run.tags.get(key) != value},
        of_model=[] if model is None else model.metrics(run.points),
    )
    return model


def _open_model(store: MLflowStore, run: RunState, folder: Path) -> OpenModel | None:
    """The model of a run that has ended, to be completed; None if it needs or lacks nothing."""
    if not is_wanted(folder):
        return None
    model = open_model(store, run.run_id, folder, may_exist=not run.is_new)
    return None if model.is_complete else model


def _upload_files(
    store: MLflowStore, run_id: str, folder: Path, result: RunResult, pictures: Iterable[Path]
) -> None:
    """Upload the files that a run has ended with."""
    if result.mlflow_run_id != run_id:
        with suppress(OSError):
            noted = replace(result, mlflow_run_id=run_id)
            write_json_atomic(folder / run_dir.RESULT, noted.to_json())
    for name in (run_dir.WEIGHTS, run_dir.CLASSIFIER):
        if (folder / name).exists():
            store.log_artifact(run_id, folder / name, "checkpoint")
    for name in (run_dir.RESULT, run_dir.PREDICTIONS):
        if (folder / name).exists():
            store.log_artifact(run_id, folder / name)
    for picture in sorted({*pictures, *folder.glob("*.png")}):
        store.log_artifact(run_id, picture)


def end_tags(result: RunResult | None) -> dict[str, str]:
    """The tags of how a run has ended, none of one that has not.

    With them and `_outcome`, MLflow alone has all of result.json.
    """
    if result is None:
        return {}
    known = _known(result)
    tags = {tag: str(known[key]) for key, tag in END_TAGS.items() if key in known}
    if result.status == "PRUNED":  # MLflow has no such state
        tags[PRUNED_TAG] = "true"
    if result.status != "FINISHED":
        tags |= {SO_FAR_TAGS[k]: repr(float(known[k])) for k in END_METRICS if k in known}
    return tag_values(tags)


def _outcome(run: RunState, folder: Path, result: RunResult) -> list[Row]:
    """The row of what no epoch has logged of a finished run, and MLflow has otherwise or not."""
    if result.status != "FINISHED":
        return []
    known = _known(result)
    metrics: dict[str, float | None] = {
        key: float(known[key])
        for key in END_METRICS
        if key in known and run.latest.get(key) != float(known[key])
    }
    # The time of the last row is the same each time that the end is uploaded.
    last = run_dir.read_rows(folder)[-1:]
    time = last[0]["time"] if last else int(read_json(folder / run_dir.RUN)["started"])
    return [{"epoch": max((result.epochs or 0) - 1, 0), "time": time, "metrics": metrics}]


def _known(result: RunResult) -> dict[str, Any]:
    """What a result has a value of."""
    return {key: value for key, value in result.to_json().items() if value is not None}


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


def ensure_run(store: MLflowStore, path: Path) -> str:
    """The id of the file's MLflow run, which has its params; it is created if it is not there."""
    with no_other_uploads(path.parent):
        run, _ = find_or_create(store, path)
    store.log_params(run.run_id, run.missing_params(read_json(path).get("params") or {}))
    return run.run_id


def find_or_create(
    store: MLflowStore,
    path: Path,
    *,
    may_exist: bool = True,
    ended: RunResult | None = None,
) -> tuple[RunState, bool]:
    """The file's MLflow run, and whether it had to be created; its id is kept in the file.

    With `may_exist` a run is looked for that was created without its id being kept, because the
    process died or MLflow's response was lost. A new run that has ``ended`` has the tags of its end
    from the start, and `upload` keeps its id.
    """
    content = read_json(path)
    run_id, started = content.get("mlflow_run_id"), content.get("started")
    if run_id and (known := store.read_run(run_id)) is not None:
        return known, False
    own, parent = _own_tags(path, content), content.get("parent_run_id")
    facts: dict[str, object] = {}
    run_id = store.find_run(own) if may_exist else None
    run = None if run_id is None else store.read_run(run_id)
    if is_new := run is None:
        parent = _parent(store, path, content)
        run = store.new_run(
            name=content["name"],
            parent_id=parent,
            tags={**(content.get("tags") or {}), **own, **end_tags(ended)},
            start_time_ms=started,
        )
        if path.name != TRIAL:
            facts["parent_run_id"] = parent
    if not is_new or ended is None or content.get("parent_run_id") != parent:
        with suppress(OSError):  # a full disk: the run is found again by its tags
            update_file(path, started, {"mlflow_run_id": run.run_id, **facts})
    return run, is_new


def open_run(
    store: MLflowStore, path: Path, *, may_exist: bool, ended: RunResult | None
) -> RunState:
    """The file's MLflow run: created (its id goes to the file), or that of an earlier attempt.

    The latter is open again, unless it has ``ended``. ``may_exist`` as for `find_or_create`.
    """
    run, is_new = find_or_create(store, path, may_exist=may_exist, ended=ended)
    if not is_new:
        run.points = store.points(run.run_id, run.latest)
        if ended is None:
            store.reopen(run.run_id)
            for key in run.tags.keys() & ENDED_TAGS:
                store.client.delete_tag(run.run_id, key)
                del run.tags[key]
    return run


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
        parent = ensure_run(store, trial / TRIAL)  # if that has not been possible yet
    return parent
