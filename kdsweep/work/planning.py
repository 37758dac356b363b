"""The units of a sweep for workers: those that an earlier controller has left, then new ones.

A unit of an earlier controller keeps its number and its runs: a process may train it, or a job for
it may still wait in a scheduler's queue. A unit that does not fit is left: no process takes it.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from kdsweep.common.pacing import lines_while
from kdsweep.errors import UserError
from kdsweep.execution.target import RunTarget, SweepLocation
from kdsweep.execution.worklist import WorkUnit, pending
from kdsweep.work import attempt
from kdsweep.work.graph import UnitGraph
from kdsweep.work.outcomes import lacking
from kdsweep.work.unit_file import UnitFile, numbers, read_unit, write_unit
from kdsweep.work.unit_specs import UnitRecorder

# Makes the cohorts of runs.
MakeCohorts = Callable[[Sequence[RunTarget]], Sequence[WorkUnit]]
Key = tuple[str, ...]  # the role of a unit, and the fingerprints of its runs


def plan_units(
    targets: Sequence[RunTarget],
    sweep: SweepLocation,
    recorder: UnitRecorder,
    make_cohorts: MakeCohorts,
) -> UnitGraph:
    """The units in which runs are to be trained, and what they need; their files are written.

    Raises OSError if one cannot be written.
    """
    recorder.add(targets)
    wanted = {target.spec.fingerprint: target for target in targets}
    known: dict[Key, int] = {}  # units of an earlier controller that are kept
    kept: list[WorkUnit] = []
    for file in _unfinished(sweep.folder):
        if file.role != "run":
            known[file.role, *(run.fingerprint for run in file.runs)] = file.number
        elif (found := _kept(file, sweep.folder, wanted)) is not None:
            kept.append(found)
            known[_key(found)] = file.number
    cohorts = make_cohorts([*wanted.values()])
    graph = UnitGraph(sweep)
    new = max(numbers(sweep.folder), default=-1) + 1
    for unit in pending([], sweep, None, decided=[*kept, *cohorts]):
        number = known.pop(_key(unit), None)
        if number is None:
            number, new = new, new + 1
            graph.add(unit, number)
            write_unit(sweep.folder, recorder.describe(number, unit, graph.needs(number)))
        else:
            graph.add(unit, number)
    for number in known.values():  # of teachers and stages; a lock keeps two from training one
        attempt.leave(sweep.folder, number)
    return graph


def leave_all(folder: Path) -> None:
    """Have no process train units of a sweep any more; those in training are waited for.

    They are those of an earlier controller, which this process continues without workers.
    """
    observer = attempt.Observer()
    for unit in _unfinished(folder):
        with lines_while(f"waiting for work unit {unit.number}, which another process trains"):
            while not attempt.leave(folder, unit.number, observer) and lacking(folder, unit):
                time.sleep(attempt.LOOK_SECONDS)


def _unfinished(folder: Path) -> Iterator[UnitFile]:
    """The units of an earlier controller that are not over. A damaged file counts as none."""
    for number in numbers(folder):
        try:
            unit = read_unit(folder, number)
        except UserError:
            continue
        last = attempt.latest(folder, number)
        is_over = last is not None and last.state in (attempt.DONE, attempt.LEFT)
        if not is_over and lacking(folder, unit, again=last is None):
            yield unit


def _kept(unit: UnitFile, folder: Path, wanted: dict[str, RunTarget]) -> WorkUnit | None:
    """A cohort that is trained as it is, whose runs are then wanted no more; else it is left."""
    missing = {run.fingerprint for run in lacking(folder, unit, again=True)}
    # Those that have failed on their own are trained again only in a new unit.
    retried = missing - {run.fingerprint for run in lacking(folder, unit)}
    fits = not retried and missing <= wanted.keys()
    if not fits and attempt.leave(folder, unit.number):
        return None
    runs = [run.fingerprint for run in unit.runs if run.fingerprint in wanted]
    return WorkUnit(tuple(wanted.pop(run) for run in runs), unit.place) if runs else None


def _key(unit: WorkUnit) -> Key:
    return (unit.role, *(target.spec.fingerprint for target in unit.targets))
