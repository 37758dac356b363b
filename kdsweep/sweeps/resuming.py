"""Which earlier sweep `resume=true` continues, and in which directory."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from kdsweep.config.overrides import sweep_name
from kdsweep.runs.spec import RunSpec
from kdsweep.sweeps.directory import (
    CLAIM,
    find,
    holds_runs,
    refuse_another,
    refuse_while_trained,
    release,
)
from kdsweep.sweeps.hydra_jobs import HydraJobs
from kdsweep.sweeps.other_numerics import find_with_other_numerics
from kdsweep.tracking.console import Progress
from kdsweep.tracking.metadata import SWEEP_DEFAULTS, read_sweep_metadata


def find_earlier(jobs: HydraJobs, chosen: Path | None, specs: Sequence[RunSpec]) -> Path | None:
    """The earlier sweep of these runs: in the directory the user named, else in any next to it.

    Raises UserError if the directory that the user named holds another sweep, or one in training.
    """
    if chosen is None:
        return find(_root(jobs), specs)
    if not holds_runs(chosen):
        return find(chosen, specs)
    batches = jobs.config.hydra.sweeper.get("max_batch_size") is not None
    refuse_another(chosen, specs, whole=not batches)
    refuse_while_trained(chosen, read_sweep_metadata(chosen) or SWEEP_DEFAULTS)
    return chosen


def destination(jobs: HydraJobs, chosen: Path | None, earlier: Path | None) -> Path:
    """The directory of a sweep that is to be resumed: of the earlier one, if there is one."""
    return earlier or chosen or jobs.folder


def resume(jobs: HydraJobs, folder: Path, earlier: Path | None, progress: Progress) -> None:
    """Move into the directory of the earlier sweep of these runs, or into the named one."""
    own = jobs.folder
    if earlier is None:
        progress.note(starts_afresh(jobs))
        if own != folder:
            shutil.copy(own / "multirun.yaml", folder)
    else:
        progress.note(f"resume: continues in {folder}")
    (folder / CLAIM).touch()
    if folder != own:
        release(own)
        jobs.move_to(folder)


def _root(jobs: HydraJobs) -> Path:
    """The directory above all sweeps."""
    return Path("multirun") if Path("multirun").is_dir() else jobs.folder.parent


def starts_afresh(jobs: HydraJobs) -> str:
    """Why `resume=true` resumes no sweep."""
    other = find_with_other_numerics(_root(jobs), sweep_name(jobs.config))
    if other is None:
        return "resume: no earlier sweep of these runs, this one starts afresh"
    return (
        f"resume: {other} is of a version of kdsweep that computes other numbers,"
        " this one starts afresh"
    )
