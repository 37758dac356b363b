"""Trains the runs of a sweep, in this process or in workers."""

from collections.abc import Sequence
from pathlib import Path

from kdsweep.execution.context import TrainingContext
from kdsweep.execution.run_writer import EpochCallback
from kdsweep.execution.target import RunTarget
from kdsweep.execution.worklist import pending
from kdsweep.tracking.result import RunResult
from kdsweep.work.controller import Controller, upload_inputs
from kdsweep.work.display import UnitDisplay
from kdsweep.work.executor import Executor, Queue
from kdsweep.work.graph import UnitGraph
from kdsweep.work.inline import Inline
from kdsweep.work.other_units import OtherUnits, leave
from kdsweep.work.planning import MakeCohorts, plan_units
from kdsweep.work.processes import Processes
from kdsweep.work.unit_file import read_unit
from kdsweep.work.unit_specs import UnitRecorder


def train(
    targets: Sequence[RunTarget],
    context: TrainingContext,
    *,
    capacity: int | None = None,
    resume: bool = False,
    on_epoch: EpochCallback | None = None,
) -> dict[str, RunResult]:
    """Train runs in this process, and what they need first, in as few cohorts as possible.

    Args:
        targets: runs with different fingerprints.
        capacity: most runs a cohort may hold; None for no limit.
        resume: from the checkpoints in their directories.
        on_epoch: may stop single runs early.

    Returns:
        Each run's result, by fingerprint.

    Raises UserError if a teacher that all of them need could not be trained.
    """
    if resume and context.sweep is not None:
        leave(OtherUnits(context.sweep).all(), context.sweep)
    upload_inputs(targets, context)
    graph = UnitGraph(context.sweep)
    for unit in pending(targets, context.sweep, capacity):
        graph.add(unit)
    return Controller(graph, Inline(context, resume=resume, on_epoch=on_epoch), context).train()


def detach(
    queue: Queue, targets: Sequence[RunTarget], context: TrainingContext, make_cohorts: MakeCohorts
) -> int:
    """Have runs trained without this process; returns the number of their units.

    Raises UserError if the queue does not accept them.
    """
    assert context.sweep is not None, "the sweep is open"
    upload_inputs(targets, context)
    folder = context.sweep.folder
    recorder = UnitRecorder(context.sweep, Path.cwd())
    graph = plan_units(targets, context.sweep, recorder, make_cohorts)
    queue.submit_chain([read_unit(folder, number) for number in sorted(graph.units)])
    return len(graph.units)


def train_by(
    executor: Executor,
    targets: Sequence[RunTarget],
    context: TrainingContext,
    make_cohorts: MakeCohorts,
) -> dict[str, RunResult]:
    """Train runs in the processes of an executor, which is closed at the end; as for `train`.

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
        placement = Processes(executor, context, graph, recorder, display)
    except BaseException:
        executor.close()
        raise
    return Controller(graph, placement, context).train()
