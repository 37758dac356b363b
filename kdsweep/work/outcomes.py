"""What the runs of a unit have come to, from their folders alone; nothing here imports torch."""

from pathlib import Path

from kdsweep.common.files import look_anew
from kdsweep.tracking.metadata import find_result
from kdsweep.tracking.result import RunResult
from kdsweep.tracking.run_dir import WEIGHTS
from kdsweep.work.unit_file import UnitFile, UnitRun


def result_of(folder: Path, run: UnitRun) -> RunResult | None:
    """The result of a run of the sweep in a folder; None if it has not ended."""
    return find_result(folder / run.folder, run.fingerprint)


def lacking(folder: Path, unit: UnitFile, *, again: bool = False) -> list[UnitRun]:
    """The runs of a unit that are still to be trained.

    A run that has failed or was pruned on its own has ended, unless all such are to be trained
    ``again``. A teacher or a stage must have its weights, and a teacher that has failed has not
    ended.
    """
    return [run for run in unit.runs if not _has_ended(folder, unit.role, run, again)]


def _has_ended(folder: Path, role: str, run: UnitRun, again: bool) -> bool:
    look_anew(folder / run.folder)
    result = result_of(folder, run)
    if result is None:
        return False
    if result.status == "FINISHED":
        return role == "run" or (folder / run.folder / WEIGHTS).is_file()
    return role in ("run", "stage") and not again and not result.with_cohort
