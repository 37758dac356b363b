"""Trains a run again, into a folder of its own, and compares the two."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from kdsweep.errors import RunFailed, UserError
from kdsweep.execution.context import TrainingContext
from kdsweep.execution.target import RunTarget
from kdsweep.runs.preflight import preflight
from kdsweep.runs.spec import RunSpec
from kdsweep.sweeps.rerun.conditions import conditions, show_conditions
from kdsweep.sweeps.rerun.original import Original, read_original, spec_of
from kdsweep.sweeps.rerun.outcome import Outcome, compare, show_outcome
from kdsweep.tracking.console import Progress
from kdsweep.tracking.find_run import find_run
from kdsweep.tracking.metadata import read_result
from kdsweep.tracking.mlflow.store import MLflowStore
from kdsweep.tracking.printing import print_line
from kdsweep.work.inline import train

if TYPE_CHECKING:
    from rich.console import Console

OUTPUTS = Path("outputs")  # where Hydra, too, puts single runs


def rerun(
    word: str, open_store: Callable[[], MLflowStore], chosen: Path | None, console: "Console"
) -> bool:
    """Train the run that a word names again; returns whether it is the same, bit for bit.

    Nothing is logged to MLflow. A run with peers is trained and compared with all of them.

    Args:
        word: as for `find_run`.
        open_store: the MLflow store; called only if the run has no folder here.
        chosen: the new folder of the run; by default one below outputs/.

    Raises UserError if the run cannot be trained again, RunFailed if it does not finish.
    """
    _refuse_occupied(chosen)
    with TemporaryDirectory(prefix="kdsweep-") as downloads:
        original = read_original(find_run(word, open_store, Path(downloads)))
        spec = spec_of(original)
        folder = _train(original, spec, chosen, console)
        outcomes = _outcomes(original, spec, folder)
        for outcome in outcomes:
            show_outcome(outcome, console)
    print_line(console, f"the rerun is in {folder}")
    return all(outcome.is_same for outcome in outcomes)


def _train(original: Original, spec: RunSpec, chosen: Path | None, console: "Console") -> Path:
    """Train the run into a new folder, and return that."""
    tracking = replace(spec.config.tracking, uri=None, tensorboard=False, system_metrics=False)
    with (
        Progress(total_runs=1) as progress,
        closing(TrainingContext(tracking, progress)) as context,
    ):
        preflight([spec], context.dataset)
        show_conditions(conditions(original, spec), console)
        folder = _new_folder(chosen)
        result = train([RunTarget(spec, folder)], context)[spec.fingerprint]
    if result.status != "FINISHED":
        raise RunFailed(f"{result.name} in {folder} is {result.status}: {result.reason}")
    return folder


def _outcomes(original: Original, spec: RunSpec, folder: Path) -> list[Outcome]:
    """The comparison of the run, then of those of its peers that have a record, too."""
    places = [Path(), *(Path("peers") / name for name in spec.peers)]
    outcomes = []
    for place in places:
        folders = (original.folder / place, folder / place)
        before, now = read_result(folders[0]), read_result(folders[1])
        if before is not None and now is not None:
            outcomes.append(compare(str(now.name), (before, now), folders))
    return outcomes


def _refuse_occupied(chosen: Path | None) -> None:
    if chosen is None or not chosen.exists():
        return
    if not chosen.is_dir() or any(chosen.iterdir()):
        raise UserError(f"--dir must be a new or an empty folder, got {chosen}")


def _new_folder(chosen: Path | None) -> Path:
    """The folder of the rerun, made. Raises UserError if it cannot be."""
    if chosen is not None:
        return _made(chosen, exist_ok=True)
    now, number = f"{datetime.now():%Y-%m-%d/%H-%M-%S}", 1
    while True:
        try:
            return _made(OUTPUTS / (now if number == 1 else f"{now}-{number}"), exist_ok=False)
        except FileExistsError:
            number += 1


def _made(folder: Path, *, exist_ok: bool) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=exist_ok)
    except FileExistsError:
        raise
    except OSError as error:
        raise UserError(f"--dir must be a folder that can be written, got {folder}") from error
    return folder
