"""Trains runs that are added while others are in training, in this process or in workers."""

from collections.abc import Sequence
from pathlib import Path

from kdsweep.execution.context import TrainingContext
from kdsweep.execution.inputs import upload_inputs
from kdsweep.execution.run_writer import EpochCallback
from kdsweep.execution.target import RunTarget
from kdsweep.execution.worklist import cohorts, pending
from kdsweep.work.controller import Controller
from kdsweep.work.display import UnitDisplay
from kdsweep.work.endings import Ended
from kdsweep.work.executor import Executor
from kdsweep.work.graph import UnitGraph
from kdsweep.work.inline import InlineTraining
from kdsweep.work.other_units import OtherUnits, withdraw
from kdsweep.work.planning import UnitPlanner
from kdsweep.work.processes import Processes
from kdsweep.work.unit_specs import UnitRecorder


class OpenTraining:
    """The runs of a search, which are always resumed.

    Args:
        executor: whose processes train them; None: this process, one unit after the other.
        capacity: most runs a cohort may hold; None for no limit.
        at_a_time: most units that are placed.
        on_epoch: may stop single runs early.
    """

    def __init__(
        self,
        executor: Executor | None,
        context: TrainingContext,
        *,
        capacity: int | None,
        at_a_time: int,
        on_epoch: EpochCallback,
    ) -> None:
        assert context.sweep is not None, "the sweep is open"
        self._context, self._sweep, self._capacity = context, context.sweep, capacity
        self._graph = UnitGraph(self._sweep)
        self._planner: UnitPlanner | None = None
        self._training: InlineTraining | Controller
        if executor is None:
            self._others = OtherUnits(self._sweep)
            self._training = InlineTraining(self._graph, context, resume=True, on_epoch=on_epoch)
            return
        recorder = UnitRecorder(self._sweep, Path.cwd())
        self._planner = UnitPlanner(self._graph, self._sweep, recorder)
        display = UnitDisplay(context.progress)
        processes = Processes(
            executor,
            context,
            self._graph,
            recorder,
            display,
            at_a_time=at_a_time,
            on_epoch=on_epoch,
        )
        # A fault of the machine is none of a trial: the search ends, and resumes its trials.
        self._training = Controller(self._graph, processes, ends_on_error=True)

    @property
    def units(self) -> int:
        """How many units are in training or wait for one that is."""
        return len(self._graph.units)

    def add(self, targets: Sequence[RunTarget]) -> None:
        """Have runs with different fingerprints trained, and what they need first."""
        upload_inputs(targets, self._context)
        if self._planner is not None:
            self._planner.add(targets, lambda runs: cohorts(runs, self._capacity))
            return
        fingerprints = {target.spec.fingerprint for target in targets}
        withdraw(self._others.of_runs(fingerprints), self._sweep)
        for one in pending(targets, self._sweep, self._capacity):
            if (unit := self._graph.new_part(one)) is not None:
                self._graph.add(unit)

    def step(self) -> Ended:
        """Train a unit, or wait a moment for some in workers to be over.

        Raises RunFailed if one ends on an error, and what `train_unit` raises.
        """
        return self._training.step()

    def close(self, *, leave: bool = False) -> None:
        """End what is in training, to be resumed; with ``leave``, jobs of a queue continue."""
        self._training.close(leave=leave)
