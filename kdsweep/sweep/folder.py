"""A sweep's folder: claimed by one sweep alone, described by sweep.json, found again to resume."""

import logging
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from kdsweep.errors import UserError
from kdsweep.plan import Plan
from kdsweep.run import Home, Result, Session
from kdsweep.tracking.answers import OF_TEACHERS
from kdsweep.tracking.database import first_line, shown
from kdsweep.tracking.files import read_json, write_json_atomic
from kdsweep.tracking.mlflow_store import FOLDER_TAG, MLflowStore

log = logging.getLogger(__name__)

CLAIM = ".kdsweep"
PLOTS = "plots"  # folder of a search's plots, in its own folder and in MLflow
OWN_FILES = (
    "sweep.json",
    "results.csv",
    "optimization_results.yaml",
    "heatmap.png",
    "samples.png",
)


def claim(folder: Path, *, chosen: bool) -> Path:
    """Take a folder for this sweep alone; two sweeps never share one.

    Args:
        folder: where the sweep would like to be.
        chosen: whether the user named the folder. If not, the next free `-2`, `-3`, ... is taken.

    Raises:
        UserError: if a chosen folder holds another sweep, or the folder cannot be written.
    """
    candidate, number = folder, 1
    while True:
        try:
            candidate.mkdir(parents=True, exist_ok=True)
            (candidate / CLAIM).touch(exist_ok=False)
            return candidate
        except FileExistsError as error:
            if chosen:
                raise UserError(
                    f"hydra.sweep.dir must be a folder of its own, got {folder}, which holds a"
                    " sweep (resume=true goes on with it)"
                ) from error
        except OSError as error:
            raise UserError(
                f"hydra.sweep.dir must be a folder that can be written, got {folder}"
            ) from error
        number += 1
        candidate = folder.with_name(f"{folder.name}-{number}")


def release(folder: Path) -> None:
    """Give a claimed folder back if nothing but Hydra's own note of the sweep is in it."""
    if {path.name for path in folder.iterdir()} <= {CLAIM, "multirun.yaml"}:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


@dataclass
class Sweep:
    """A sweep that has begun: where it is, and its parent run in MLflow."""

    folder: Path
    parent_id: str | None

    def run_folder(self, number: int) -> Path:
        """The folder of the sweep's run with this number."""
        return self.folder / str(number)


def open_sweep(
    folder: Path, session: Session, *, name: str, role: str, nested: bool, plans: Sequence[Plan]
) -> Sweep:
    """Describe the sweep in sweep.json and make its parent run, once, whoever comes first.

    Args:
        name: what the parent run is called.
        role: `sweep` or `search`.
        nested: whether there is a parent run at all; a sweep of one run has none.
        plans: runs that this process is about to train; their fingerprints are added.
    """
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / "sweep.json"
    with FileLock(folder / ".sweep.lock"):
        known = read_json(note) if note.is_file() else _describe(name, role, nested)
        known |= {"pid": os.getpid(), "host": socket.gethostname(), "ended": False}
        known["fingerprints"] |= {str(plan.number): plan.fingerprint for plan in plans}
        write_json_atomic(note, known)  # before MLflow: a sweep that dies here is found again
        if session.store is not None:
            known |= _in_mlflow_or_refuse(session.store, known, folder)
            try:
                write_json_atomic(note, known)
            except OSError:
                if known["parent_run_id"] is not None:  # nobody would know that it is there
                    session.store.finish(known["parent_run_id"], "FAILED")
                raise
    session.home = Home(folder, known["parent_run_id"])
    return Sweep(folder, known["parent_run_id"])


def _describe(name: str, role: str, nested: bool) -> dict[str, Any]:
    return {
        "name": name,
        "role": role,
        "nested": nested,
        "created": time.time(),
        "parent_run_id": None,
        "experiment_id": None,
        "tracking_uri": None,
        "fingerprints": {},
    }


def _in_mlflow_or_refuse(store: MLflowStore, known: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Where the sweep is in MLflow; one that has been there before is not stopped by an outage.

    Raises:
        UserError: if a new sweep's store does not take its run.
    """
    try:
        return _in_mlflow(store, known, folder)
    except Exception as error:
        reason = first_line(error)
        if known["tracking_uri"] is None:
            raise UserError(
                "tracking.uri must be an MLflow store that works, got"
                f" {shown(store.uri)}: {reason}; tracking=none trains without one"
            ) from error
        log.warning("MLflow does not know yet that the sweep has been resumed (%s)", reason)
        return {}


def _in_mlflow(store: MLflowStore, known: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Where the sweep is in MLflow, with its parent run created or opened again."""
    parent = _parent_run(store, known, folder)
    if parent is not None:
        store.reopen(parent)
    return {
        "parent_run_id": parent,
        "experiment_id": store.experiment_id,
        "tracking_uri": shown(store.uri),
    }


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

    What else sweep.json says of MLflow stays: that is about the store the sweep was trained with.
    """
    with FileLock(folder / ".sweep.lock"):
        known = read_json(folder / "sweep.json")
        parent = _parent_run(store, known, folder)
        if parent != known["parent_run_id"]:
            write_json_atomic(folder / "sweep.json", known | {"parent_run_id": parent})
    return parent


def log_own_files(store: MLflowStore, parent: str, folder: Path) -> None:
    """Copy what a sweep or a search as a whole has to its parent run, over what is there."""
    for name in OWN_FILES:
        if (folder / name).is_file():
            store.log_artifact(parent, folder / name)
    for below in (PLOTS, OF_TEACHERS):
        for path in sorted((folder / below).glob("[!.]*")):
            store.log_artifact(parent, path, below)


def may_be_training(note: dict[str, Any]) -> bool:
    """Whether a process may still be working on a sweep, by its sweep.json."""
    elsewhere = note["host"] != socket.gethostname()
    return not note["ended"] and (elsewhere or _alive(note["pid"]))


def mark_ended(folder: Path) -> None:
    """Note that no process is working on the sweep any more."""
    mark(folder, {"ended": True})


def mark(folder: Path, facts: dict[str, Any]) -> None:
    """Add to a sweep's sweep.json."""
    write_json_atomic(folder / "sweep.json", read_json(folder / "sweep.json") | facts)


def find(root: Path, plans: Sequence[Plan]) -> Path | None:
    """The latest sweep under `root` that consists of exactly these runs, None if there is none.

    Raises:
        UserError: if that sweep is still being trained by another process of this machine.
    """
    wanted = {str(plan.number): plan.fingerprint for plan in plans}
    notes = [(path, read_json(path)) for path in root.rglob("sweep.json")]
    same = [
        (note["created"], path.parent, note)
        for path, note in notes
        if note["fingerprints"] == wanted
    ]
    if not same:
        return None
    _, folder, note = max(same, key=lambda entry: entry[0])
    if not note["ended"] and note["host"] == socket.gethostname() and _alive(note["pid"]):
        raise UserError(f"resume: {folder} is still being trained by process {note['pid']}")
    return folder


def _alive(pid: int) -> bool:
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def result_of(folder: Path) -> Result | None:
    """A run folder's result.json, None if the run has not ended."""
    path = folder / "result.json"
    return read_json(path) if path.is_file() else None
