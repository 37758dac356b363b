"""Trains work units in this process: a teacher, stages in lockstep, or a cohort of runs."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

import torch
from filelock import FileLock

from kdsweep.builders.models import network_label
from kdsweep.common.files import write_json_atomic
from kdsweep.common.text import error_reason
from kdsweep.execution.cohort import train_cohort
from kdsweep.execution.context import TrainingContext
from kdsweep.execution.inputs import upload_inputs
from kdsweep.execution.run_writer import EpochCallback
from kdsweep.execution.target import RunTarget, finished_result, has_ended, recorded_result
from kdsweep.execution.teacher_store import load_teacher
from kdsweep.execution.worklist import TEACHING, WorkUnit, pending
from kdsweep.tracking.result import RunResult
from kdsweep.tracking.run_dir import RESULT
from kdsweep.training.memory import is_out_of_memory, release_memory
from kdsweep.work.endings import Ended, Outcome, end_unit
from kdsweep.work.graph import UnitGraph
from kdsweep.work.other_units import OtherUnits, withdraw


def train(
    targets: Sequence[RunTarget],
    context: TrainingContext,
    *,
    capacity: int | None = None,
    resume: bool = False,
    on_epoch: EpochCallback | None = None,
) -> dict[str, RunResult]:
    """Train runs, and what they need first, in as few cohorts as possible.

    Args:
        targets: runs with different fingerprints.
        capacity: most runs a cohort may hold; None for no limit.
        resume: from the checkpoints in their directories.
        on_epoch: may stop single runs early.

    Returns:
        Each run's result, by fingerprint.

    Raises UserError if all of them need a teacher that could not be trained.
    """
    if resume and context.sweep is not None:
        withdraw(OtherUnits(context.sweep).all(), context.sweep)
    upload_inputs(targets, context)
    graph = UnitGraph(context.sweep)
    for unit in pending(targets, context.sweep, capacity):
        graph.add(unit)
    training = InlineTraining(graph, context, resume=resume, on_epoch=on_epoch)
    ended = Ended()
    while graph.units:
        ended.add(training.step())
    return ended.of_sweep()


class InlineTraining:
    """Trains the units of a graph, each as soon as its inputs are there.

    Further units may be added to the graph meanwhile. `resume` and `on_epoch` as for `train_unit`.
    """

    def __init__(
        self,
        graph: UnitGraph,
        context: TrainingContext,
        *,
        resume: bool = False,
        on_epoch: EpochCallback | None = None,
    ) -> None:
        self._graph, self._context = graph, context
        self._resume, self._on_epoch = resume, on_epoch

    def step(self) -> Ended:
        """Train the first unit that can be trained. What `train_unit` raises ends the sweep."""
        (number,) = self._graph.take(1)
        unit = self._graph.units[number]
        results = train_unit(unit, self._context, resume=self._resume, on_epoch=self._on_epoch)
        return end_unit(self._graph, Outcome(number, results=results))

    def close(self, *, leave: bool = False) -> None:
        """Nothing is at work: what stopped the training has ended its runs."""


def train_unit(
    unit: WorkUnit,
    context: TrainingContext,
    *,
    resume: bool = False,
    on_epoch: EpochCallback | None = None,
) -> dict[str, RunResult]:
    """Train the runs of a unit whose inputs have ended.

    Args:
        resume: from the checkpoints in their directories; teachers and stages always are.
        on_epoch: may stop single runs early.

    Returns:
        Each run's result, by fingerprint; of teachers and stages, too.
    """
    if unit.role in TEACHING:
        (target,) = unit.targets
        return {target.spec.fingerprint: _train_teacher(target, context)}
    if unit.role == "stage":
        return _train_stages(unit, context)
    return _train_runs(unit, context, resume=resume, on_epoch=on_epoch)


def _train_teacher(target: RunTarget, context: TrainingContext) -> RunResult:
    """Train a teacher unless another process has by now. Its directory is always resumed."""
    network = target.spec.config.student
    store, name = target.run_dir.parent, network_label(network.name, network.model)
    store.mkdir(parents=True, exist_ok=True)  # it can be written, as the preflight has found
    with FileLock(store / f"{target.spec.fingerprint}.lock"):
        if (earlier := finished_result(target)) is not None:
            context.upload_missing(target.run_dir)
            return earlier
        if (target.run_dir / RESULT).exists():
            context.progress.note(
                f"{target.spec.name}: trained again, the one in {target.run_dir} is not complete"
            )
        load_teacher([target.spec], context)  # an assistant's own is announced first
        context.progress.teacher(name, target.spec.config.trainer.epochs)
        (result,) = train_cohort([target], context, resume=True)
    if result.status == "FINISHED":
        context.progress.note(f"teacher {name}: kept in {target.run_dir}")
    return result


def _train_stages(unit: WorkUnit, context: TrainingContext) -> dict[str, RunResult]:
    """Train stages in lockstep, except those that another process has trained by now."""
    with ExitStack() as locks:
        for target in sorted(unit.targets, key=lambda target: target.spec.fingerprint):
            locks.enter_context(target.lock())
        missing = tuple(target for target in unit.targets if not has_ended(target))
        for name in dict.fromkeys(target.spec.cell.name for target in missing):
            if name not in context.announced:
                context.announced.add(name)
                context.progress.note(f"{name}: trained first")
        if missing:
            _train_runs(replace(unit, targets=missing), context, resume=True)
    ended = {target.spec.fingerprint: recorded_result(target) for target in unit.targets}
    return {fingerprint: result for fingerprint, result in ended.items() if result is not None}


def _train_runs(
    unit: WorkUnit,
    context: TrainingContext,
    *,
    resume: bool,
    on_epoch: EpochCallback | None = None,
) -> dict[str, RunResult]:
    load_teacher(unit.specs, context)  # announced before the cohort
    number, count = unit.place
    epochs = unit.specs[0].config.trainer.epochs
    context.progress.cohort(number, count, len(unit.targets), epochs)
    ended = _train_or_split(unit.targets, context, resume, on_epoch)
    return {t.spec.fingerprint: result for t, result in zip(unit.targets, ended, strict=True)}


def _train_or_split(
    targets: Sequence[RunTarget],
    context: TrainingContext,
    resume: bool,
    on_epoch: EpochCallback | None,
) -> list[RunResult]:
    """Train a cohort; one that does not fit into memory is split in half, to the same bits."""
    if torch.cuda.is_initialized():  # else what is freed late costs nothing
        release_memory()
    try:
        return train_cohort(targets, context, resume=resume, on_epoch=on_epoch)
    except Exception as error:
        result = recorded_result(targets[0])
        if not is_out_of_memory(error) or (len(targets) == 1 and result is None):
            raise
        reason = error_reason(error)
    if len(targets) == 1:
        assert result is not None
        name = targets[0].spec.name
        context.progress.note(f"{name} does not fit into memory: {reason}")
        final = replace(result, with_cohort=False)  # it would fail again
        write_json_atomic(targets[0].run_dir / RESULT, final.to_json())
        return [final]
    release_memory()
    half = len(targets) // 2
    context.progress.note(f"{len(targets)} students do not fit into memory, {half} at a time now")
    return [
        result
        for part in (targets[:half], targets[half:])
        for result in _train_or_split(part, context, True, on_epoch)
    ]
