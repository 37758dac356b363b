"""Uploads what MLflow lacks of a run: its rows and files, and how it has ended.

Every function here may raise whatever MLflow raises; each can be repeated until MLflow has all.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from kdsweep.common.files import read_json, write_json_atomic
from kdsweep.tracking import run_dir
from kdsweep.tracking.metadata import read_result
from kdsweep.tracking.mlflow.entities import mlflow_key
from kdsweep.tracking.mlflow.logged_model import OpenModel, is_wanted, open_model
from kdsweep.tracking.mlflow.run_end import (
    END_METRICS,
    ENDED_TAGS,
    as_status,
    end_tags,
    known_values,
)
from kdsweep.tracking.mlflow.run_of_file import (
    create,
    find_or_create,
    ids_of,
    keep_id,
    no_other_uploads,
    parent_of,
    reopen,
    update_file,
)
from kdsweep.tracking.mlflow.run_state import Logged, RunState
from kdsweep.tracking.mlflow.store import MLflowStore
from kdsweep.tracking.result import RunResult
from kdsweep.tracking.run_dir import Row


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
    _, missing = upload(store, run, folder, rows, result, pictures=pictures, end_time_ms=end)
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
    run: RunState | None,
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
        run: what MLflow has of it. None: nothing, unless the file has its id; else it is created as
            part of the batch.
        rows: those that MLflow may lack.
        result: of a run that has ended, whose state is set last of all.
        with_start: whether it may lack what is known before the first epoch.
        pictures: of a run that has ended, with those in its folder.
        end_time_ms: when it ended; by default now.
    """
    path = folder / run_dir.RUN
    content = read_json(path)
    if run is None and content.get("mlflow_run_id"):  # another process has created it meanwhile
        run = reopen(store, path, result)
    parent = None if run is not None else parent_of(store, path, content)
    with store.one_commit():
        run = run or create(store, path, content, parent, result)
        missing = run.missing_rows(rows)
        params = _log_start(store, run, content) if with_start else {}
        if result is None:
            store.log(run.run_id, params=params, rows=missing)
        else:
            model = _log_end(store, run, folder, result, params, missing)
    if result is None:
        keep_id(path, content, run)  # that of a run that has ended is kept below
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
    update_file(path, content.get("started"), {**ids_of(path, run), "shipped": True})
    run.is_new = False
    return run, len(missing)


def _log_start(
    store: MLflowStore, run: RunState, content: Mapping[str, Any]
) -> Mapping[str, object]:
    """Log the data set of a run; returns the params that it lacks, to be logged with the rest."""
    if dataset := content.get("dataset"):
        store.log_dataset(run.run_id, dataset)
    return run.missing_params(content.get("params") or {})


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


def _outcome(run: RunState, folder: Path, result: RunResult) -> list[Row]:
    """The row of what no epoch has logged of a finished run, and MLflow has otherwise or not."""
    if result.status != "FINISHED":
        return []
    known = known_values(result)
    metrics: dict[str, float | None] = {
        key: float(known[key])
        for key in END_METRICS
        if key in known and run.latest.get(key) != float(known[key])
    }
    # The time of the last row is the same each time that the end is uploaded.
    last = run_dir.read_rows(folder)[-1:]
    time = last[0]["time"] if last else int(read_json(folder / run_dir.RUN)["started"])
    return [{"epoch": max((result.epochs or 0) - 1, 0), "time": time, "metrics": metrics}]
