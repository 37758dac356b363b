"""run.json and trial.json: what an MLflow run is made from, and its id once it is known.

Every function here may raise whatever MLflow raises; each can be repeated.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from kdsweep.common.files import UPDATE_LOCK, read_json, write_json_atomic
from kdsweep.tracking.metadata import TRIAL, read_sweep_metadata, read_trial_metadata
from kdsweep.tracking.mlflow.store import FOLDER_TAG, MLflowStore, Status

LEVELS = 3  # from the folder of a trial down to that of a peer


def update(path: Path, started: object, facts: Mapping[str, object]) -> None:
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
        update(path, started, {"mlflow_run_id": run_id, **facts})
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
