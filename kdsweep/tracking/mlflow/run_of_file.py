"""The MLflow run of a run.json or a trial.json: found, or created; its id is kept in the file.

Every function here may raise whatever MLflow raises; each can be repeated.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from kdsweep.common.files import UPDATE_LOCK, read_json, write_json_atomic
from kdsweep.tracking.metadata import TRIAL, read_sweep_metadata, read_trial_metadata
from kdsweep.tracking.mlflow.run_end import ENDED_TAGS, end_tags
from kdsweep.tracking.mlflow.run_state import RunState
from kdsweep.tracking.mlflow.store import FOLDER_TAG, PARENT_TAG, MLflowStore, Status
from kdsweep.tracking.result import RunResult

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
    store: MLflowStore, path: Path, *, ended: RunResult | None = None
) -> tuple[RunState, bool]:
    """The file's MLflow run, and whether it had to be created; its id is kept in the file.

    A run is looked for, too, that was created without its id being kept, because the process died
    or MLflow's response was lost. A new run that has ``ended`` has the tags of its end from the
    start.
    """
    content = read_json(path)
    run_id = content.get("mlflow_run_id")
    if run_id and (known := store.read_run(run_id)) is not None:
        return known, False
    run_id = store.find_run(_own_tags(path, content))
    run = None if run_id is None else store.read_run(run_id)
    if is_new := run is None:
        run = create(store, path, content, parent_of(store, path, content), ended)
    keep_id(path, content, run)
    return run, is_new


def create(
    store: MLflowStore,
    path: Path,
    content: Mapping[str, Any],
    parent_id: str | None,
    ended: RunResult | None,
) -> RunState:
    """Create the MLflow run of a file with this content. Its id is not kept: see `keep_id`."""
    return store.new_run(
        name=content["name"],
        parent_id=parent_id,
        tags={**(content.get("tags") or {}), **_own_tags(path, content), **end_tags(ended)},
        start_time_ms=content.get("started"),
    )


def ids_of(path: Path, run: RunState) -> dict[str, object]:
    """What a file has of its MLflow run: the id, and that of the run above a new one."""
    ids: dict[str, object] = {"mlflow_run_id": run.run_id}
    if run.is_new and path.name != TRIAL:
        ids["parent_run_id"] = run.tags.get(PARENT_TAG)
    return ids


def keep_id(path: Path, content: Mapping[str, Any], run: RunState) -> None:
    """Write the id of its MLflow run to a file with this content, unless it is there."""
    ids = ids_of(path, run)
    if any(content.get(key) != value for key, value in ids.items()):
        with suppress(OSError):  # a full disk: the run is found again by its tags
            update_file(path, content.get("started"), ids)


def reopen(store: MLflowStore, path: Path, ended: RunResult | None) -> RunState:
    """The MLflow run of a file that may have one from an earlier attempt, with its points.

    It is open again, unless it has ``ended``.
    """
    run, is_new = find_or_create(store, path, ended=ended)
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


def parent_of(store: MLflowStore, path: Path, content: Mapping[str, Any]) -> str | None:
    """The MLflow run above the file's: of its trial, else of its sweep or search.

    That of a trial is created if that has not been possible yet. Not to be called inside
    `one_commit`: another process may hold the trial's lock, and wait for the database.
    """
    if path.name == TRIAL:
        content = read_sweep_metadata(path.parent.parent) or {}
    parent: str | None = content.get("parent_run_id")
    if parent is None and (trial := find_trial_dir(path.parent)) is not None:
        parent = ensure_run(store, trial / TRIAL)
    return parent
