"""A sweep's folder: claimed by one sweep alone, described by sweep.json, found again to resume."""

import logging
import os
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from kdsweep.common.files import drop_drafts, write_json_atomic
from kdsweep.common.passwords import redact_password
from kdsweep.common.processes import host_has_restarted, is_local, is_running, owner
from kdsweep.errors import UserError
from kdsweep.plan import Plan
from kdsweep.run import Home, Session
from kdsweep.tracking.metadata import (
    SWEEP,
    SWEEP_DEFAULTS,
    fingerprint_in,
    has_been_in_mlflow,
    sweep_note,
)
from kdsweep.tracking.mlflow.backend import first_line
from kdsweep.tracking.mlflow.store import FOLDER_TAG, MLflowStore
from kdsweep.tracking.predictions import OF_TEACHERS
from kdsweep.tracking.run_dir import RUN

log = logging.getLogger(__name__)

CLAIM = ".kdsweep"
OLD_SECONDS = 3600.0  # after which a draft in a folder that several processes share is a dead one's
PLOTS = "plots"  # folder of a search's plots, in its own folder and in MLflow
OWN_FILES = (
    SWEEP,
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


def scratch() -> Path:
    """A claimed folder outside of all sweeps, for as long as it is open which one is resumed."""
    return claim(Path(tempfile.mkdtemp(prefix="kdsweep-")), chosen=False)


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
    folder: Path,
    session: Session,
    *,
    name: str,
    role: str,
    nested: bool,
    plans: Sequence[Plan],
    alone: bool,
) -> Sweep:
    """Describe the sweep in sweep.json and make its parent run, once, whoever comes first.

    Args:
        name: what the parent run is called.
        role: `sweep` or `search`.
        nested: whether there is a parent run at all; a sweep of one run has none.
        plans: runs that this process is about to train; their fingerprints are added.
        alone: whether no other process may work on the sweep at the same time.

    Raises:
        UserError: if the folder holds another sweep, or another process works on this one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".sweep.lock"):
        refuse_another(folder, plans, role=role)
        known = sweep_note(folder) or _describe(name, role, nested)
        if alone:
            refuse_while_trained(folder, known)
        for place in (folder, folder / OF_TEACHERS):
            drop_drafts(place, older_than=0.0 if alone else OLD_SECONDS)
        known |= {**owner(), "ended": False}
        known["fingerprints"] |= {str(plan.number): plan.fingerprint for plan in plans}
        write_json_atomic(folder / SWEEP, known)  # before MLflow: if it dies here, it is found
        if session.store is not None:
            known |= _in_mlflow_or_refuse(session.store, known, folder)
            try:
                write_json_atomic(folder / SWEEP, known)
            except OSError:
                if known["parent_run_id"] is not None:  # nobody would know that it is there
                    session.store.finish(known["parent_run_id"], "FAILED")
                raise
    session.home = Home(folder, known["parent_run_id"])
    return Sweep(folder, known["parent_run_id"])


def _describe(name: str, role: str, nested: bool) -> dict[str, Any]:
    own = {"name": name, "role": role, "nested": nested}
    return {**SWEEP_DEFAULTS, **own, "created": time.time(), "fingerprints": {}}


def _in_mlflow_or_refuse(store: MLflowStore, known: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Where the sweep is in MLflow; one that has been there before is not stopped by an outage.

    Raises:
        UserError: if a new sweep's store does not take its run.
    """
    try:
        return _in_mlflow(store, known, folder)
    except Exception as error:
        reason = first_line(error)
        if not has_been_in_mlflow(known):
            raise UserError(
                "tracking.uri must be an MLflow store that works, got"
                f" {redact_password(store.uri)}: {reason}; tracking=none trains without one"
            ) from error
        log.warning(
            "MLflow does not know yet that the sweep has been resumed (%s); what it lacks at the"
            " end, `kdsweep sync %s` ships later",
            reason,
            folder,
        )
        return {}


def _in_mlflow(store: MLflowStore, known: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Where the sweep is in MLflow, with its parent run created or opened again."""
    parent = _parent_run(store, known, folder)
    if parent is not None:
        store.reopen(parent)
    return {
        "parent_run_id": parent,
        "experiment_id": store.experiment_id,
        "tracking_uri": store.uri,
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
    None, too, if there is no sweep.json that can be used.
    """
    with FileLock(folder / ".sweep.lock"):
        known = sweep_note(folder)
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
    for below in (PLOTS, OF_TEACHERS):
        for path in sorted((folder / below).glob("[!.]*")):
            store.log_artifact(parent, path, below)


def may_be_training(note: dict[str, Any]) -> bool:
    """Whether a process may still be working on a sweep, by its sweep.json."""
    if note["ended"]:
        return False
    if is_local(note):
        return _is_trained_elsewhere(note)
    return not host_has_restarted(note)  # what runs on another host cannot be seen from here


def _is_trained_elsewhere(note: dict[str, Any]) -> bool:
    """Whether another process of this machine is working on a sweep."""
    if note["ended"] or note["pid"] in (None, os.getpid()):
        return False
    return is_local(note) and is_running(note)


def mark_ended(folder: Path) -> None:
    """Note that no process is working on the sweep any more."""
    mark(folder, {"ended": True})


def mark(folder: Path, facts: dict[str, Any]) -> None:
    """Add to a sweep's sweep.json."""
    if (note := sweep_note(folder)) is not None:
        write_json_atomic(folder / SWEEP, note | facts)


def find(root: Path, plans: Sequence[Plan]) -> Path | None:
    """The latest sweep under `root` that consists of exactly these runs, None if there is none.

    Raises:
        UserError: if that sweep is still being trained by another process of this machine.
    """
    wanted = _fingerprints(plans)
    notes = [(path.parent, sweep_note(path.parent)) for path in root.rglob(SWEEP)]
    same = [
        (note["created"], folder, note)
        for folder, note in notes
        if note is not None and note["fingerprints"] == wanted
    ]
    if not same:
        return None
    _, folder, note = max(same, key=lambda entry: entry[0])
    refuse_while_trained(folder, note)
    return folder


def refuse_while_trained(folder: Path, note: dict[str, Any]) -> None:
    """Raise UserError if another process of this machine is working on a sweep."""
    if _is_trained_elsewhere(note):
        raise UserError(f"resume: {folder} is still being trained by process {note['pid']}")


def holds_runs(folder: Path) -> bool:
    """Whether a sweep has begun in a folder, or it is the folder of a run itself."""
    notes = (folder / name for name in (SWEEP, RUN))
    return any(note.is_file() for note in notes) or bool(_runs_in(folder, None))


def refuse_another(
    folder: Path, plans: Sequence[Plan], *, role: str = "sweep", whole: bool = False
) -> None:
    """Refuse a folder that holds any other run than one of these, each under its own number.

    Args:
        whole: whether these are all runs of the sweep, so that it may have no more or less.

    Raises:
        UserError: naming the folder, and the first run that is another one.
    """
    note, wanted = sweep_note(folder), _fingerprints(plans)
    if (folder / RUN).is_file():
        raise UserError(_another(folder, "a run"))
    if note is not None and note["role"] != role:
        raise UserError(_another(folder, f"a {note['role']}"))
    noted = {} if note is None else note["fingerprints"]
    names = {str(plan.number): plan.name for plan in plans}
    there = _runs_in(folder, None if whole else wanted)
    for number, known in {**noted, **there}.items():
        if number in wanted and wanted[number] != known:
            raise UserError(_another(folder, f"another run {number} than {names[number]}"))
    numbers = {*noted, *there}
    if whole and (numbers - wanted.keys() or (noted and wanted.keys() - numbers)):
        raise UserError(_another(folder, f"a sweep of {len(numbers)} runs, not of {len(wanted)}"))


def _another(folder: Path, what: str) -> str:
    return (
        f"hydra.sweep.dir must be a new folder or one that holds these very runs, got {folder},"
        f" which holds {what}"
    )


def _fingerprints(plans: Sequence[Plan]) -> dict[str, str]:
    return {str(plan.number): plan.fingerprint for plan in plans}


def _runs_in(folder: Path, numbers: Iterable[str] | None) -> dict[str, str]:
    """number -> fingerprint of those of these runs (None: all) that a sweep's folder has."""
    if numbers is None:
        numbers = [path.name for path in folder.glob("[0-9]*") if path.name.isdigit()]
    found = {number: fingerprint_in(folder / number) for number in numbers}
    return {number: known for number, known in found.items() if known is not None}
