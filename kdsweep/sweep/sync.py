"""`kdsweep sync FOLDER`: make MLflow agree with the folders of a sweep or of a run."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import OmegaConf

from kdsweep.errors import UserError
from kdsweep.sweep.answer import parent_status
from kdsweep.sweep.folder import ensure_parent, may_be_training
from kdsweep.tracking import database, run_folder
from kdsweep.tracking.files import read_json, write_json_atomic
from kdsweep.tracking.mlflow_store import MLflowStore
from kdsweep.tracking.recorder import sync
from kdsweep.tracking.results import collect, write_csv

SWEEP = "sweep.json"


class Target(NamedTuple):
    """Where to ship to. None: what the run was configured with."""

    uri: str | None = None
    experiment: str | None = None
    artifacts: str | None = None


class _Address(NamedTuple):
    """The arguments of `MLflowStore.open`."""

    uri: str
    experiment: str
    artifacts: str
    cwd: Path


def sync_folder(folder: Path, target: Target = Target()) -> str:
    """Ship what is missing of a run folder, or of every run of a sweep folder, and of the sweep.

    Returns:
        What was shipped, as a sentence.

    Raises:
        UserError: if the folder holds no run, or its store cannot be used.
    """
    folder = Path(os.path.abspath(folder))
    runs = sorted(path.parent for path in folder.rglob(run_folder.RUN))
    if not runs:
        raise UserError(f"FOLDER must be the folder of a run or a sweep, got {folder}")
    addresses = {run: _address(run, target) for run in runs}  # all that is wrong is said first
    try:
        stores = {a: MLflowStore.open(*a) for a in dict.fromkeys(addresses.values())}
        rows = sum(_sync_run(run, stores[addresses[run]]) for run in runs)
    except ValueError as error:
        raise UserError(str(error)) from error
    sweeps = {run.parent: stores[addresses[run]] for run in runs if _is_in_a_sweep(run)}
    for sweep, store in sweeps.items():
        _sync_sweep(sweep, store)
    return f"shipped {rows} rows that were missing of {_some_names(runs)}"


def _address(run: Path, target: Target) -> _Address:
    """Where a run is to be shipped.

    A relative path in its config counts from where its sweep was started. That is no longer known,
    but the database that it led to is; a new experiment's files would lie beside it.
    """
    tracking = OmegaConf.load(run / run_folder.CONFIG).tracking
    uri, cwd = target.uri or tracking.uri, Path.cwd()
    if uri is None:
        raise UserError(
            f"--uri must name a store to ship to, got none, and {run} was trained without one;"
            " try --uri sqlite:///mlflow.db"
        )
    used = read_json(run.parent / SWEEP)["tracking_uri"] if _is_in_a_sweep(run) else None
    if target.uri is None and used is not None and database.scheme_of(used) == "sqlite":
        uri, cwd = used, database.sqlite_file(used).parent
    return _Address(
        uri,
        target.experiment or tracking.experiment,
        str(Path.cwd() / target.artifacts) if _is_path(target.artifacts) else target.artifacts or tracking.artifacts,
        cwd,
    )


def _is_in_a_sweep(run: Path) -> bool:
    return (run.parent / SWEEP).is_file()


def _sync_run(run: Path, store: MLflowStore) -> int:
    """Ship a run, under its sweep's parent run; returns how many rows were missing."""
    if _is_in_a_sweep(run):
        note, parent = read_json(run / run_folder.RUN), ensure_parent(run.parent, store)
        if note.get("parent_run_id") != parent:
            write_json_atomic(run / run_folder.RUN, note | {"parent_run_id": parent})
    return sync(run, store)


def _sync_sweep(folder: Path, store: MLflowStore) -> None:
    """Ship what a sweep as a whole has, and close its parent run unless it is being trained."""
    note, rows = read_json(folder / SWEEP), collect(folder)
    write_csv(rows, folder / "results.csv")  # by now it can tell where each run is in MLflow
    if (parent := note["parent_run_id"]) is None:
        return
    for name in ("results.csv", "heatmap.png", "samples.png"):
        if (folder / name).is_file():
            store.log_artifact(parent, folder / name)
    if not may_be_training(note):
        status: Any = parent_status([row["status"] for row in rows])
        store.finish(parent, status, _end(folder))


def _end(sweep: Path) -> int | None:
    """When the last of a sweep's runs wrote its last row."""
    rows = [run_folder.read_rows(path.parent)[-1:] for path in sweep.glob(f"*/{run_folder.RUN}")]
    return max((row["time"] for last in rows for row in last), default=None)


def _some_names(runs: Sequence[Path]) -> str:
    names = ", ".join(read_json(run / run_folder.RUN)["name"] for run in runs[:3])
    return f"{names} and {len(runs) - 3} more" if len(runs) > 3 else names
