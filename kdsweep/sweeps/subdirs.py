"""`hydra.sweep.subdir`: names of the user's for the runs of a sweep, as links to their folders.

A run's folder is its number, by which resuming, the report and `kdsweep sync` find it. Any other
name leads to it, so that Hydra's files and ours are found under both.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from kdsweep.common.text import error_reason, escape_unprintable
from kdsweep.errors import UserError
from kdsweep.sweeps.record import OWN_FILES, PLOTS
from kdsweep.tracking.predictions import TEACHER_PREDICTIONS_DIR
from kdsweep.tracking.results_table import REPORT
from kdsweep.work.unit_file import FOLDER

KEY = "hydra.sweep.subdir"
RESERVED = {*OWN_FILES, PLOTS, TEACHER_PREDICTIONS_DIR, REPORT, "report.md", "table.tex"}
RESERVED |= {"multirun.yaml", FOLDER}
OF_AUXILIARY_RUNS = re.compile("(?:teacher|stage)-[0-9a-f]{16}$")
LONGEST = 255  # bytes of a name in a folder, on all common file systems


def subdirs_of(configs: Sequence[DictConfig], first: int) -> dict[int, PurePath]:
    """number -> name of the runs of a batch that have another name than their number.

    Raises UserError, naming the value and the run, for names that are no paths in the sweep's
    folder, or that two runs share.
    """
    named: dict[int, PurePath] = {}
    for number, config in enumerate(configs, start=first):
        subdir = _resolved(config, number)
        if subdir != str(number):
            _refuse_odd(subdir, number)
            named[number] = PurePath(subdir)
    _refuse_shared(named)
    return named


def refuse_taken(folder: Path, named: Mapping[int, PurePath]) -> None:
    """Raise UserError for names that something else in the folder has, or where none can be made.

    Runs of earlier batches have names there, and those of a sweep that is resumed.
    """
    for number, name in named.items():
        link = folder / name
        if os.path.lexists(link):
            target = os.path.normpath(link.parent / os.readlink(link)) if link.is_symlink() else ""
            if target != os.path.normpath(folder / str(number)):
                raise UserError(f"{KEY} must differ between runs, got '{name}' again for {number}")
    if named:
        _try_link(folder, named[min(named)], min(named))


def link_subdirs(folder: Path, named: Mapping[int, PurePath]) -> None:
    """Make the links in the folder of a sweep, where they are not there yet."""
    for number, name in named.items():
        link, target = folder / name, folder / str(number)
        target.mkdir(exist_ok=True)
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(os.path.relpath(target, link.parent), target_is_directory=True)


def refuse_several_dirs(configs: Sequence[DictConfig], first: int, chosen: Path | None) -> None:
    """Raise UserError if `hydra.sweep.dir` is not the same for all runs of a sweep."""
    dirs = [str(config.hydra.sweep.dir) for config in configs]
    known = dirs[0] if chosen is None else str(chosen)
    for number, other in enumerate(dirs, start=first):
        if other != known:
            raise UserError(
                f"hydra.sweep.dir must be one folder for all runs of a sweep, got {known} and,"
                f" for run {number}, {other}; {KEY} names the folders of runs"
            )


def _resolved(config: DictConfig, number: int) -> str:
    try:
        return str(config.hydra.sweep.subdir)
    except OmegaConfBaseException as error:
        raise UserError(
            f"{KEY} must be a name for each run, got none for run {number}: {error_reason(error)}"
        ) from error


def _refuse_odd(subdir: str, number: int) -> None:
    """Refuse what is no path in the sweep's folder, or is the name of something else there."""
    parts = PurePath(subdir).parts
    shown = f"got '{escape_unprintable(subdir)}' for run {number}"
    if not parts or subdir.startswith(("/", "~")) or ".." in parts or "\0" in subdir:
        raise UserError(f"{KEY} must be a path in the folder of the sweep, {shown}")
    if parts[0].isdigit():
        raise UserError(f"{KEY} must be no number, unless it is that of the run, {shown}")
    if parts[0] in RESERVED or OF_AUXILIARY_RUNS.match(parts[0]) or parts[0].startswith("."):
        raise UserError(f"{KEY} must be no name of a file of the sweep, {shown}")
    if any(len(os.fsencode(part)) > LONGEST for part in parts):
        raise UserError(
            f"{KEY} must have names of at most {LONGEST} bytes, {shown};"
            " 'hydra.job.config.override_dirname.exclude_keys=[KEY,...]' leaves keys out"
        )


def _refuse_shared(named: Mapping[int, PurePath]) -> None:
    """Refuse a name that two runs have, or that leads into the folder of another run."""
    runs: dict[PurePath, int] = {}
    for number, name in named.items():
        if (other := runs.setdefault(name, number)) != number:
            raise UserError(
                f"{KEY} must differ between runs, got '{name}' for runs {other} and {number}"
            )
    for number, name in named.items():
        if above := next((parent for parent in name.parents if parent in runs), None):
            raise UserError(
                f"{KEY} must name no folder in that of another run, got '{name}' for run {number}"
                f" and '{above}' for run {runs[above]}"
            )


def _try_link(folder: Path, name: PurePath, number: int) -> None:
    trial = folder / f".{number}.link"
    try:
        trial.unlink(missing_ok=True)
        trial.symlink_to(str(number), target_is_directory=True)
        trial.unlink()
    except (OSError, NotImplementedError) as error:
        raise UserError(
            f"{KEY} must be left out where no links can be made, got '{name}' for run {number} and"
            f" {error_reason(error)} in {folder}"
        ) from error
