"""`kdsweep sync FOLDER`: make MLflow agree with the folders of a sweep or of a run."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig

from kdsweep.common.files import write_json_atomic
from kdsweep.common.passwords import redact_password
from kdsweep.errors import UserError
from kdsweep.sweeps.directory import may_be_training
from kdsweep.sweeps.finalize import make_report, parent_status, upload_sweep
from kdsweep.sweeps.record import ensure_parent, log_own_files, mark
from kdsweep.tracking import run_dir
from kdsweep.tracking.find_sweep import sweep_of
from kdsweep.tracking.metadata import (
    TRIAL,
    read_result,
    read_run_config,
    read_run_metadata,
    read_sweep_metadata,
    read_trial_metadata,
)
from kdsweep.tracking.mlflow import backend, trial_sync
from kdsweep.tracking.mlflow.run_of_file import ensure_run, find_trial_dir
from kdsweep.tracking.mlflow.run_sync import sync
from kdsweep.tracking.mlflow.store import MLflowStore
from kdsweep.tracking.results_table import CSV, collect, write_csv


class Target(NamedTuple):
    """Where to upload to. None: what the run was configured with."""

    uri: str | None = None
    experiment: str | None = None
    artifacts: str | None = None
    sweep: Path | None = None  # whose store takes runs outside of a sweep without one


Address = tuple[str, str, str, Path]  # the arguments of `MLflowStore.open`


def sync_folder(folder: Path, target: Target) -> str:
    """Upload what is missing of a run folder, or of every run of a sweep folder, and of the sweep.

    Returns what was uploaded, as a sentence. Raises UserError if the folder holds no run, or its
    store cannot be used.
    """
    folder = run_dir.real_folder(Path(os.path.abspath(folder)))
    run_folders = [path.parent for path in folder.rglob(run_dir.RUN)]
    run_folders.sort(key=lambda run: run_dir.by_number(str(run)))
    configs = {run: config for run in run_folders if (config := _config(run)) is not None}
    runs = list(configs)
    if not runs:
        raise UserError(f"FOLDER must be the folder of a run or a sweep, got {folder}")
    addresses = {run: _address(run, config.tracking, target) for run, config in configs.items()}
    try:
        distinct = dict.fromkeys(addresses.values())
        new = sorted(
            {uri for uri, _, _, cwd in distinct if not backend.is_there(backend.resolve(uri, cwd))}
        )
        opened = {address: MLflowStore.open(*address) for address in distinct}
        stores = {run: opened[address] for run, address in addresses.items()}
        sweeps = {sweep: store for run, store in stores.items() if (sweep := sweep_of(run))}
        parents = {sweep: ensure_parent(sweep, store) for sweep, store in sweeps.items()}
        above = {run: parents[sweep] for run in runs if (sweep := sweep_of(run))}
        for sweep, store in sweeps.items():
            for trial in sorted(path.parent for path in sweep.glob(f"*/{TRIAL}")):
                if read_trial_metadata(trial) is not None:
                    trial_sync.sync_trial(trial, store)
        rows = sum(_sync_run(run, store, above.get(run)) for run, store in stores.items())
        for sweep, store in sweeps.items():
            _sync_sweep(sweep, store, parents[sweep])
    except ValueError as error:
        raise UserError(str(error)) from error
    names = ", ".join(str((read_run_metadata(run) or {}).get("name", run.name)) for run in runs[:3])
    more = f" and {len(runs) - 3} more" if len(runs) > 3 else ""
    made = f" to a new store, {', '.join(map(redact_password, new))}" if new else ""
    lines = [f"uploaded {rows} rows that were missing of {names}{more}{made}"]
    for run in runs:
        if damaged := ", ".join(map(str, run_dir.damaged_lines(run))):
            path = run / run_dir.METRICS
            lines.append(f"{path} has damaged lines, which could not be uploaded: {damaged}")
    return "\n".join(lines)


def _config(run: Path) -> DictConfig | None:
    """The config of a run; None if it or the run's note cannot be used."""
    return None if read_run_metadata(run) is None else read_run_config(run)


def _address(run: Path, tracking: DictConfig, target: Target) -> Address:
    """Where a run is to be uploaded.

    A relative path in its config counts from where the sweep was started. sweep.json has the
    address of that database, and a new experiment's files go next to it.
    """
    sweep = sweep_of(run)
    if sweep is None and tracking.uri is None and (first := _first_config(target.sweep)):
        sweep, tracking = target.sweep, first.tracking
    uri, cwd = target.uri or tracking.uri, Path.cwd()
    if uri is None:
        raise UserError(
            "--uri must name a store to upload to (try --uri sqlite:///mlflow.db), got none, and"
            f" {run} was trained without one"
        )
    note = None if sweep is None else read_sweep_metadata(sweep)
    used = None if note is None else note["tracking_uri"]
    # A database that was moved, its folder with it, is found by the config.
    if target.uri is None and used is not None and backend.is_sqlite_file(used):
        uri = used
        cwd = cwd if target.artifacts else backend.sqlite_file(used).parent
    experiment = target.experiment or tracking.experiment
    return uri, experiment, target.artifacts or tracking.artifacts, cwd


def _sync_run(run: Path, store: MLflowStore, above: str | None) -> int:
    """Upload a run, nested under its trial or its sweep; returns how many rows were missing."""
    note = read_run_metadata(run) or {}
    noted = note.get("parent_run_id")
    if (trial := find_trial_dir(run)) is not None:
        above = ensure_run(store, trial / TRIAL)
    # Searches of earlier versions noted the trial's own MLflow run, and wrote no trial.json.
    if above != noted and not (noted and store.has_run(noted)):
        write_json_atomic(run / run_dir.RUN, note | {"parent_run_id": above})
    return sync(run, store)


def _sync_sweep(folder: Path, store: MLflowStore, parent: str | None) -> None:
    """Upload what a sweep as a whole has, and close its parent run unless it may be training."""
    rows = collect(folder)
    if parent is None:
        if rows:
            write_csv(rows, folder / CSV)  # by now the id of each run is known
        return
    note = read_sweep_metadata(folder)
    if note is not None and may_be_training(note):
        write_csv(rows, folder / CSV)
        log_own_files(store, parent, folder)
        return
    runs = [path.parent for path in folder.rglob(run_dir.RUN)]
    states = []
    for run in runs:
        result = read_result(run)
        states.append("RUNNING" if result is None else result.status)
        run_id = (read_run_metadata(run) or {}).get("mlflow_run_id")
        if result is None and run_id is not None and store.has_run(run_id):
            store.finish(run_id, "KILLED", _end([run]))  # no process works on it
    report = make_report(folder) if rows and _wants_report(folder) else None
    status = parent_status(states)
    mark(folder, {"view": upload_sweep(store, parent, folder, report, status, _end(runs))})


def _wants_report(folder: Path) -> bool:
    """Whether the sweep was configured to have one; older configs lack the key."""
    config = _first_config(folder)
    return config is None or bool(config.tracking.get("report", True))


def _first_config(sweep: Path | None) -> DictConfig | None:
    """The config of the first run of a sweep that has one."""
    runs = sorted(path.parent for path in sweep.rglob(run_dir.CONFIG)) if sweep else []
    return next((config for run in runs if (config := _config(run)) is not None), None)


def _end(runs: Sequence[Path]) -> int | None:
    """When the last of the runs wrote its last row."""
    last = [row for run in runs for row in run_dir.read_rows(run)[-1:]]
    return max((row["time"] for row in last), default=None)
