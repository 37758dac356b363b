"""A sweep's record: sweep.json in its directory, and its parent run in MLflow."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from kdsweep.common.files import drop_drafts, write_json_atomic
from kdsweep.common.passwords import redact_password
from kdsweep.common.processes import new_lease
from kdsweep.common.text import first_line
from kdsweep.errors import UserError
from kdsweep.execution.target import SweepLocation
from kdsweep.runs.fingerprint import NUMERICS
from kdsweep.runs.spec import RunSpec
from kdsweep.sweeps.directory import fingerprints, refuse_another, refuse_while_trained
from kdsweep.tracking.metadata import SWEEP, SWEEP_DEFAULTS, has_been_in_mlflow, read_sweep_metadata
from kdsweep.tracking.mlflow.store import FOLDER_TAG, MLflowStore
from kdsweep.tracking.predictions import TEACHER_PREDICTIONS_DIR
from kdsweep.tracking.results_table import CSV

log = logging.getLogger(__name__)

OLD_SECONDS = 3600.0  # after which a draft in a folder that several processes share is a dead one's
PLOTS = "plots"  # folder of a search's plots, in its own folder and in MLflow
opened_here: list[Path] = []  # folders of the sweeps that this process has trained, in order
OWN_FILES = (SWEEP, CSV, "optimization_results.yaml", "heatmap.png", "samples.png")


def open_sweep(
    folder: Path,
    store: MLflowStore | None,
    *,
    name: str,
    role: str,
    nested: bool,
    specs: Sequence[RunSpec],
    alone: bool,
) -> SweepLocation:
    """Describe the sweep in sweep.json and create its parent run, by the first process that does.

    Args:
        name: what the parent run is called.
        role: `sweep` or `search`.
        nested: whether there is a parent run at all; a sweep of one run has none.
        specs: runs that this process is about to train; their fingerprints are added.
        alone: whether no other process may work on the sweep at the same time.

    Raises UserError if the folder holds another sweep, or another process works on this one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".sweep.lock"):
        refuse_another(folder, specs, role=role)
        known = read_sweep_metadata(folder) or {
            **SWEEP_DEFAULTS,
            **{"name": name, "role": role, "nested": nested, "numerics": NUMERICS},
            **{"created": time.time(), "fingerprints": {}},
        }
        if alone:
            refuse_while_trained(folder, known)
        for place in (folder, folder / TEACHER_PREDICTIONS_DIR):
            drop_drafts(place, older_than=0.0 if alone else OLD_SECONDS)
        known |= {**new_lease(), "ended": False}
        known["fingerprints"] |= fingerprints(specs)
        write_json_atomic(folder / SWEEP, known)  # before MLflow: if it dies here, it is found
        if store is not None:
            known |= _in_mlflow(store, known, folder)
            try:
                write_json_atomic(folder / SWEEP, known)
            except OSError:
                if known["parent_run_id"] is not None:  # nobody would know that it is there
                    store.finish(known["parent_run_id"], "FAILED")
                raise
    opened_here.append(folder)
    return SweepLocation(folder, known["parent_run_id"])


def _in_mlflow(store: MLflowStore, known: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Where the sweep is in MLflow, with its parent run created or opened again.

    A sweep that has been there before is not stopped by an outage. Raises UserError if a new
    sweep's store does not take its run.
    """
    try:
        parent = _parent_run(store, known, folder)
        if parent is not None:
            store.reopen(parent)
        place = {"experiment_id": store.experiment_id, "tracking_uri": store.uri}
        return {"parent_run_id": parent, **place}
    except Exception as error:
        reason = first_line(error)
        if not has_been_in_mlflow(known):
            raise UserError(
                "tracking.uri must be an MLflow store that works, got"
                f" {redact_password(store.uri)}: {reason}; tracking=none trains without one"
            ) from error
        log.warning(
            "MLflow does not know yet that the sweep has been resumed (%s); what it lacks at the"
            " end, `kdsweep sync %s` uploads later",
            reason,
            folder,
        )
        return {}


def _parent_run(store: MLflowStore, known: dict[str, Any], folder: Path) -> str | None:
    """The sweep's parent run in this store: the noted one, one that was lost, or a new one."""
    parent: str | None = known["parent_run_id"]
    if not known["nested"] or (parent is not None and store.has_run(parent)):
        return parent
    tags = {FOLDER_TAG: str(folder.absolute()), "kdsweep.role": known["role"]}
    return store.find_run(tags) or store.create_run(
        name=known["name"],
        parent_id=None,
        tags=tags,
        params={"command": known["name"]},
        start_time_ms=int(1000 * known["created"]),
    )


def ensure_parent(folder: Path, store: MLflowStore) -> str | None:
    """The sweep's parent run in a store, created if need be and noted in sweep.json.

    The other MLflow keys of sweep.json stay: they are about the store used in training.
    None, too, if there is no sweep.json that can be used.
    """
    with FileLock(folder / ".sweep.lock"):
        known = read_sweep_metadata(folder)
        if known is None:
            return None
        parent = _parent_run(store, known, folder)
        if parent != known["parent_run_id"]:
            write_json_atomic(folder / SWEEP, known | {"parent_run_id": parent})
    return parent


def log_own_files(store: MLflowStore, parent: str, folder: Path) -> None:
    """Copy what a sweep or a search as a whole has to its parent run, over what is there."""
    for name in OWN_FILES:
        if (folder / name).is_file():
            store.log_artifact(parent, folder / name)
    for below in (PLOTS, TEACHER_PREDICTIONS_DIR):
        for path in sorted((folder / below).glob("[!.]*")):
            store.log_artifact(parent, path, below)


def mark(folder: Path, facts: dict[str, Any]) -> None:
    """Add to a sweep's sweep.json."""
    if (note := read_sweep_metadata(folder)) is not None:
        write_json_atomic(folder / SWEEP, note | facts)
