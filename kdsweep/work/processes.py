"""Has units trained by other processes: their files, retries, MLflow and the display are here.

What has become of a unit is read from its attempts and run folders, whatever started the process.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kdsweep.common.files import look_anew
from kdsweep.execution.context import TrainingContext
from kdsweep.execution.run_writer import EpochCallback
from kdsweep.execution.target import RunTarget, recorded_result
from kdsweep.execution.worklist import WorkUnit, epochs_done
from kdsweep.work import attempt
from kdsweep.work.attempt import Observer, Record
from kdsweep.work.display import UnitDisplay
from kdsweep.work.endings import Outcome
from kdsweep.work.executor import Executor
from kdsweep.work.graph import UnitGraph
from kdsweep.work.outcomes import lacking
from kdsweep.work.pruning import EpochReports
from kdsweep.work.shipping import Shipper
from kdsweep.work.unit_file import FOLDER, UnitFile, read_unit, unit_path, write_unit
from kdsweep.work.unit_specs import UnitRecorder

LOOK_SECONDS = 1.0  # between two looks at what is in training, at least ...
LOOK_SHARE = 0.1  # ... of the time that looks may take, at most: a queue has thousands of units
MOST_DEATHS = 3  # of processes that train a unit without a new checkpoint
MOST_PARKED = 10  # the same of those that were stopped, as before a time limit


@dataclass
class _Placed:
    """A unit that is placed.

    Attributes:
        file: as it is on disk.
        epochs: that its runs had trained when its process ended last.
        deaths: of processes since then.
        foreign: whether a process of an earlier controller trains it.
    """

    unit: WorkUnit
    file: UnitFile
    folders: Sequence[Path]
    epochs: int = -1
    deaths: int = 0
    foreign: bool = False
    before: int = 0  # the last attempt before it was submitted
    attempt: int = 0  # the last one that was seen
    notes: int = 0  # that were printed of that one
    reason: str = ""  # how the last process has ended


class Processes:
    """The units of a sweep in the processes of an executor.

    Args:
        at_a_time: most units that are placed.
        on_epoch: called with the epochs of runs once they are seen in their folders; what is to
            stop by it stops after a later epoch.
    """

    def __init__(
        self,
        executor: Executor,
        context: TrainingContext,
        graph: UnitGraph,
        recorder: UnitRecorder,
        display: UnitDisplay,
        *,
        at_a_time: int = sys.maxsize,
        on_epoch: EpochCallback | None = None,
    ) -> None:
        assert context.sweep is not None, "the sweep is open"
        self._executor, self._context, self._graph = executor, context, graph
        self._folder, self._recorder, self._display = context.sweep.folder, recorder, display
        self._at_a_time = at_a_time
        self._shipper, self._observer = Shipper(context), Observer()
        self._reports = None if on_epoch is None else EpochReports(on_epoch)
        self._placed: dict[int, _Placed] = {}
        self._again: list[int] = []  # units that are to be submitted again
        self._printed: set[str] = set()  # notes
        self._next_look = self._next_reports = 0.0  # on the monotonic clock

    def free(self) -> int:
        room = self._executor.free() - len(self._again)
        return min(room, self._at_a_time - len(self._placed))

    def submit(self, units: Mapping[int, WorkUnit]) -> None:
        new: list[int] = []
        for number, unit in units.items():
            placed = self._placed[number] = self._place(number, unit)
            self._shipper.follow(placed.folders)
            if self._reports is not None and unit.role == "run":
                self._reports.follow(unit.targets)
            last = attempt.latest(self._folder, number)
            placed.before = 0 if last is None else last.attempt
            if last is not None and last.state == attempt.RUNNING and not self._is_lost(last):
                placed.foreign = True
                name, where = placed.file.name, last.place
                self._context.progress.note(f"unit {number}, {name}: still trained by {where}")
            else:
                new.append(number)
            self._display.begin(number, placed.file)
        if new:
            self._executor.submit(new)

    def _place(self, number: int, unit: WorkUnit) -> _Placed:
        if number in self._graph.changed or not unit_path(self._folder, number).exists():
            write_unit(self._folder, self._recorder.describe(number, unit, []))
            self._graph.changed.discard(number)
        file = read_unit(self._folder, number)
        names = [name for run in file.runs for name in (run.folder, *run.further)]
        folders = [self._folder / name for name in dict.fromkeys(names)]
        return _Placed(unit, file, folders, epochs=_epochs(unit))

    def poll(self, seconds: float) -> Sequence[Outcome]:
        exits = self._executor.poll(seconds)
        outcomes = [self._judge(one.number, one.reason) for one in exits]
        if self._reports is not None and (now := time.monotonic()) >= self._next_reports:
            # However long it takes: what is to stop early would else be at its end by then.
            self._next_reports = now + LOOK_SECONDS
            self._reports.look()
        if (began := time.monotonic()) >= self._next_look:
            outcomes += self._look()
            took = time.monotonic() - began
            self._next_look = began + max(LOOK_SECONDS, took / LOOK_SHARE)
        self._submit_again()
        return [outcome for outcome in outcomes if outcome is not None]

    def _look(self) -> list[Outcome | None]:
        """Look at all units in training: heartbeats, new epochs, what there is to print."""
        if self._context.stop_in_time is not None:
            self._context.stop_in_time()
        outcomes: list[Outcome | None] = []
        look_anew(self._folder / FOLDER)
        for number, placed in list(self._placed.items()):
            if (record := self._latest(number, anew=False)) is None:
                continue  # it waits in a queue
            self._shipper.look(placed.folders)
            self._print_notes(placed, record)
            self._display.update(number, record.progress)
            if placed.foreign and (record.state != attempt.RUNNING or self._is_lost(record)):
                outcomes.append(self._judge(number, None))
        self._display.draw()
        return outcomes

    def _latest(self, number: int, *, anew: bool = True) -> Record | None:
        placed = self._placed[number]
        record = attempt.latest(self._folder, number, placed.attempt, anew=anew)
        if record is not None and record.attempt != placed.attempt:
            placed.attempt, placed.notes = record.attempt, 0
        return record

    def _print_notes(self, placed: _Placed, record: Record) -> None:
        """Print what is new of an attempt's notes, and has not been printed of another unit."""
        for line in record.notes[placed.notes :]:
            if line not in self._printed:
                self._printed.add(line)
                self._context.progress.note(line)
        placed.notes = len(record.notes)

    def _is_lost(self, record: Record) -> bool:
        return self._observer.is_lost(record)

    def _judge(self, number: int, reason: str | None) -> Outcome | None:
        """What a unit has come to, whose process has ended; None: it is trained further."""
        if (placed := self._placed.get(number)) is None:  # a job that was placed twice
            return None
        record = self._latest(number)
        if record is not None and record.attempt == placed.before and not placed.foreign:
            record = None  # the process has not begun one
        if record is not None:
            self._print_notes(placed, record)
            if record.state == attempt.RUNNING and not self._is_lost(record):
                placed.foreign = True
                return None
            if record.state == attempt.FAILED:
                return self._end(number, record.reason, raised=True)
        state = None if record is None else record.state
        if state == attempt.DONE or not lacking(self._folder, placed.file):
            return self._end(number, None)
        is_parked = state == attempt.PARKED
        if not self._may_retry(placed, reason, MOST_PARKED if is_parked else MOST_DEATHS):
            return self._end(number, _died(placed))
        if not is_parked:
            why = f" ({reason})" if reason else ""
            self._context.progress.note(
                f"unit {number}, {placed.file.name}: its process has ended{why}; it is resumed from"
                " its checkpoints"
            )
        placed.foreign, placed.before = False, placed.attempt
        self._again.append(number)
        return None

    def _submit_again(self) -> None:
        """Submit units anew, at once, as far as the executor takes them.

        Thousands of jobs may be cancelled together; and a unit that a process of an earlier
        controller has left may find all workers busy.
        """
        if self._again and (room := self._executor.free()) > 0:
            now, self._again = self._again[:room], self._again[room:]
            self._executor.submit(now)

    def _may_retry(self, placed: _Placed, reason: str | None, most: int) -> bool:
        """Count a process that has ended early; whether another one may train the unit."""
        epochs = _epochs(placed.unit)
        if epochs > placed.epochs:
            placed.epochs, placed.deaths = epochs, 0
        placed.deaths += 1
        placed.reason = reason or "it is gone"
        return placed.deaths < most

    def _end(self, number: int, failure: str | None, *, raised: bool = False) -> Outcome:
        placed = self._placed.pop(number)
        self._shipper.release(placed.folders)
        if self._reports is not None and placed.unit.role == "run":
            self._reports.release(placed.unit.targets)
        self._observer.forget(number)
        self._display.end(number, failure)
        results = {}
        for target in placed.unit.targets:
            if (result := recorded_result(target)) is not None:
                results[target.spec.fingerprint] = result
        if failure is None and (lost := _without_result(placed.unit, results)):
            failure = f"{lost} has no result"
        return Outcome(number, failure, results, raised)

    def close(self, *, leave: bool = False) -> None:
        """Have the units in training parked, and request the upload of what they have recorded.

        ``leave``: those in processes that need no controller continue.
        """
        if self._placed and not leave:
            self._context.progress.note("the units in training are parked after their next step")
        self._executor.close(leave=leave)
        for placed in self._placed.values():
            self._shipper.release(placed.folders)
        self._placed.clear()
        self._display.close()


def _epochs(unit: WorkUnit) -> int:
    """The epochs that the runs of a unit have trained, as far as they can be resumed."""
    return sum(map(_epochs_of, unit.targets))


def _epochs_of(target: RunTarget) -> int:
    result = recorded_result(target)
    if result is not None and not result.with_cohort:
        return target.spec.config.trainer.epochs + 1
    return epochs_done(target)


def _died(placed: _Placed) -> str:
    return (
        f"the processes that train it have ended {placed.deaths} times without a new checkpoint:"
        f" {placed.reason}"
    )


def _without_result(unit: WorkUnit, results: Mapping[str, object]) -> str | None:
    names = (t.spec.name for t in unit.targets if t.spec.fingerprint not in results)
    return next(names, None)
