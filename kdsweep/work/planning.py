"""The units of a sweep for workers: those that an earlier controller has left, then new ones.

A unit of an earlier controller keeps its number and its runs: a process may train it, or a job for
it may still wait in a scheduler's queue. A unit that does not fit is withdrawn.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from filelock import FileLock

from kdsweep.execution.target import RunTarget, SweepLocation
from kdsweep.execution.worklist import WorkUnit, pending
from kdsweep.work import attempt
from kdsweep.work.graph import UnitGraph
from kdsweep.work.other_units import Key, OtherUnits
from kdsweep.work.outcomes import lacking
from kdsweep.work.unit_file import FOLDER, UnitFile, numbers, write_unit
from kdsweep.work.unit_specs import UnitRecorder

LOCK = ".lock"  # held while the numbers of units are chosen
# Makes the cohorts of runs.
MakeCohorts = Callable[[Sequence[RunTarget]], Sequence[WorkUnit]]


def plan_units(
    targets: Sequence[RunTarget],
    sweep: SweepLocation,
    recorder: UnitRecorder,
    make_cohorts: MakeCohorts,
) -> UnitGraph:
    """The units of all runs of a sweep, as `UnitPlanner.add` plans them; others are withdrawn."""
    planner = UnitPlanner(UnitGraph(sweep), sweep, recorder)
    planner.add(targets, make_cohorts)
    planner.withdraw_others()
    return planner.graph


class UnitPlanner:
    """Plans the units of runs, which may be added while others are in training."""

    def __init__(self, graph: UnitGraph, sweep: SweepLocation, recorder: UnitRecorder) -> None:
        self.graph, self._sweep, self._recorder = graph, sweep, recorder
        self._others = OtherUnits(sweep)

    def add(self, targets: Sequence[RunTarget], make_cohorts: MakeCohorts) -> None:
        """Add the units in which runs are to be trained, and what they need; write their files.

        Raises OSError if one cannot be written.
        """
        self._recorder.add(targets)
        folder = self._sweep.folder
        wanted = {target.spec.fingerprint: target for target in targets}
        kept: dict[Key, tuple[int, WorkUnit]] = {}
        for file in self._others.of_runs(wanted.keys()):
            if (unit := _kept(file, folder, wanted)) is not None:
                kept[_key(unit)] = file.number, unit
        cohorts = make_cohorts([*wanted.values()])
        units = pending([], self._sweep, None, decided=[*(u for _, u in kept.values()), *cohorts])
        missing = [unit for one in units if (unit := self.graph.new_part(one)) is not None]
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
        with FileLock(folder / FOLDER / LOCK):  # controllers of one search may plan at once
            new = max(numbers(folder), default=-1) + 1
            for unit in missing:
                number = kept[_key(unit)][0] if _key(unit) in kept else self._known(unit)
                if number is None:
                    number, new = new, new + 1
                    self.graph.add(unit, number)
                    needs = self.graph.needs(number)
                    write_unit(folder, self._recorder.describe(number, unit, needs))
                else:
                    self.graph.add(unit, number)
                self._others.leave_out(number)

    def withdraw_others(self) -> None:
        """Have no process train units that are not in the graph.

        Of a teacher or a stage there may be one in training: a lock keeps two from training it.
        """
        for unit in self._others.all():
            attempt.withdraw(self._sweep.folder, unit.number)

    def _known(self, unit: WorkUnit) -> int | None:
        """The number of another controller's unit of the same teacher or stages."""
        if unit.role == "run":
            return None
        same = (u for u in self._others.of_runs(_key(unit)[1:]) if _file_key(u) == _key(unit))
        return next((one.number for one in same), None)


def _kept(unit: UnitFile, folder: Path, wanted: dict[str, RunTarget]) -> WorkUnit | None:
    """A cohort that is trained as it is; its runs are no longer wanted. Else it is withdrawn."""
    missing = {run.fingerprint for run in lacking(folder, unit, again=True)}
    # Those that have failed on their own are trained again only in a new unit.
    retried = missing - {run.fingerprint for run in lacking(folder, unit)}
    fits = not retried and missing <= wanted.keys()
    if not fits and attempt.withdraw(folder, unit.number):
        return None
    runs = [run.fingerprint for run in unit.runs if run.fingerprint in wanted]
    return WorkUnit(tuple(wanted.pop(run) for run in runs), unit.place) if runs else None


def _key(unit: WorkUnit) -> Key:
    return (unit.role, *(target.spec.fingerprint for target in unit.targets))


def _file_key(unit: UnitFile) -> Key:
    return (unit.role, *(run.fingerprint for run in unit.runs))
