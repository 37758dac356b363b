"""Trains the runs of a sweep in the processes of an executor."""

from collections.abc import Sequence
from pathlib import Path

from kdsweep.errors import RunFailed
from kdsweep.execution.context import TrainingContext
from kdsweep.execution.inputs import upload_inputs
from kdsweep.execution.target import RunTarget
from kdsweep.tracking.result import RunResult
from kdsweep.work.display import UnitDisplay
from kdsweep.work.endings import Ended, end_unit
from kdsweep.work.executor import Executor, Queue
from kdsweep.work.graph import UnitGraph
from kdsweep.work.planning import MakeCohorts, plan_units
from kdsweep.work.processes import Processes
from kdsweep.work.unit_file import read_unit
from kdsweep.work.unit_specs import UnitRecorder

POLL_SECONDS = 0.5  # between two looks at the units in training


def train_by(
    executor: Executor,
    targets: Sequence[RunTarget],
    context: TrainingContext,
    make_cohorts: MakeCohorts,
) -> dict[str, RunResult]:
    """Train runs in the processes of an executor, which is closed at the end; as `inline.train`.

    The runs are always resumed. Raises RunFailed if no process can be started.
    """
    assert context.sweep is not None, "the sweep is open"
    try:
        upload_inputs(targets, context)
        recorder = UnitRecorder(context.sweep, Path.cwd())
        graph = plan_units(targets, context.sweep, recorder, make_cohorts)
        runs = [spec for unit in graph.units.values() for spec in unit.specs]
        epochs = sum(spec.config.trainer.epochs for spec in runs)
        display = UnitDisplay(context.progress, len(graph.units), epochs)
        processes = Processes(executor, context, graph, recorder, display)
    except BaseException as error:
        executor.close(leave=is_signal(error))
        raise
    return Controller(graph, processes).train()


def detach(
    queue: Queue, targets: Sequence[RunTarget], context: TrainingContext, make_cohorts: MakeCohorts
) -> int:
    """Have runs trained without this process; returns the number of their units.

    What stops it ends the jobs that it has submitted. Raises UserError if the queue accepts none.
    """
    assert context.sweep is not None, "the sweep is open"
    try:
        upload_inputs(targets, context)
        folder = context.sweep.folder
        recorder = UnitRecorder(context.sweep, Path.cwd())
        graph = plan_units(targets, context.sweep, recorder, make_cohorts)
        queue.submit_chain([read_unit(folder, number) for number in sorted(graph.units)])
    except BaseException as error:
        queue.close(leave=is_signal(error))
        raise
    return len(graph.units)


def is_signal(error: BaseException) -> bool:
    """Whether a signal ends this process: that is no wish to end the sweep, as Ctrl-C is."""
    return isinstance(error, SystemExit)


class Controller:
    """Has the units of a graph trained, each as soon as its inputs are there.

    Further units may be added to the graph meanwhile.

    Args:
        ends_on_error: an exception in the process of a unit is raised here, as one in this process
            is; else it fails the unit alone.
    """

    def __init__(
        self, graph: UnitGraph, processes: Processes, *, ends_on_error: bool = False
    ) -> None:
        self._graph, self._processes = graph, processes
        self._ends_on_error = ends_on_error

    def train(self) -> dict[str, RunResult]:
        """Train all units; returns the result of every run, by fingerprint.

        Raises UserError if all runs need a teacher that could not be trained, and what the
        processes raise; what is at work then is ended first, to be resumed. On SystemExit it
        continues if it can without this process.
        """
        ended = Ended()
        try:
            while self._graph.units:
                ended.add(self.step())
        except BaseException as error:
            self.close(leave=is_signal(error))
            raise
        self.close()
        return ended.of_sweep()

    def step(self) -> Ended:
        """Start units that can be trained, and wait a moment for some to be over.

        Raises RunFailed if a unit ends on an error.
        """
        numbers = self._graph.take(self._processes.free())
        if numbers:
            self._processes.submit({number: self._graph.units[number] for number in numbers})
        ended = Ended()
        for outcome in self._processes.poll(POLL_SECONDS):
            if outcome.raised and self._ends_on_error:
                raise RunFailed(str(outcome.failure))
            ended.add(end_unit(self._graph, outcome))
        return ended

    def close(self, *, leave: bool = False) -> None:
        """End what is in training, to be resumed; with ``leave``, jobs of a queue continue."""
        self._processes.close(leave=leave)
