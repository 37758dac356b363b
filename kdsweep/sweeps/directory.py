"""A sweep's directory: reserved by one sweep alone, and found again to be resumed."""

import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from kdsweep.common.files import remove_if_only
from kdsweep.common.processes import host_has_restarted, is_local, is_running
from kdsweep.errors import UserError
from kdsweep.execution.target import RunTarget, SweepLocation
from kdsweep.runs.spec import RunSpec
from kdsweep.sweeps.other_numerics import OTHER_NUMERICS, has_other_numerics
from kdsweep.tracking.metadata import SWEEP, read_fingerprint, read_sweep_metadata, sweeps_under
from kdsweep.tracking.run_dir import RUN

CLAIM = ".kdsweep"


def run_targets(sweep: SweepLocation, specs: Sequence[RunSpec]) -> list[RunTarget]:
    """The runs of a sweep, each in the directory of its number."""
    return [RunTarget(spec, sweep.folder / str(spec.number), sweep.parent_run_id) for spec in specs]


def claim(folder: Path, *, chosen: bool) -> Path:
    """Take a folder for this sweep alone; two sweeps never share one.

    Unless the user has ``chosen`` the folder, the next free `-2`, `-3`, ... is taken. Raises
    UserError if a chosen folder holds another sweep, or the folder cannot be written.
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
                    " sweep (resume=true resumes it)"
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
    remove_if_only({CLAIM, "multirun.yaml"}, folder)


def may_be_training(note: dict[str, Any]) -> bool:
    """Whether a process may still be working on a sweep, by its sweep.json."""
    # What runs on another host cannot be seen from here.
    is_unseen = not note["ended"] and not is_local(note) and not host_has_restarted(note)
    return is_unseen or _is_trained_elsewhere(note)


def _is_trained_elsewhere(note: dict[str, Any]) -> bool:
    """Whether another process of this machine is working on a sweep."""
    if note["ended"] or note["pid"] in (None, os.getpid()):
        return False
    return is_local(note) and is_running(note)


def find(root: Path, specs: Sequence[RunSpec]) -> Path | None:
    """The latest sweep under `root` that consists of exactly these runs, None if there is none.

    Raises UserError if that sweep is still being trained by another process of this machine.
    """
    wanted = fingerprints(specs)
    notes = sweeps_under(root).items()
    same = {folder: note for folder, note in notes if note["fingerprints"] == wanted}
    if not same:
        return None
    folder = max(same, key=lambda folder: same[folder]["created"])
    refuse_while_trained(folder, same[folder])
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
    folder: Path, specs: Sequence[RunSpec], *, role: str = "sweep", whole: bool = False
) -> None:
    """Refuse a folder that holds any other run than one of these, each under its own number.

    If they are the ``whole`` sweep, the folder may have no more or less. Raises UserError, naming
    the folder and the first run that is another one.
    """
    note, wanted = read_sweep_metadata(folder), fingerprints(specs)
    if (folder / RUN).is_file():
        raise UserError(_another(folder, "a run"))
    if note is not None and note["role"] != role:
        raise UserError(_another(folder, f"a {note['role']}"))
    if has_other_numerics(note):
        raise UserError(_another(folder, OTHER_NUMERICS))
    noted = {} if note is None else note["fingerprints"]
    names = {str(spec.number): spec.name for spec in specs}
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


def fingerprints(specs: Sequence[RunSpec]) -> dict[str, str]:
    """The fingerprint of each run by its number, as in sweep.json."""
    return {str(spec.number): spec.fingerprint for spec in specs}


def _runs_in(folder: Path, numbers: Iterable[str] | None) -> dict[str, str]:
    """number -> fingerprint of those of these runs (None: all) that a sweep's folder has."""
    if numbers is None:
        numbers = [path.name for path in folder.glob("[0-9]*") if path.name.isdigit()]
    by_number = {number: read_fingerprint(folder / number) for number in numbers}
    return {number: known for number, known in by_number.items() if known is not None}
