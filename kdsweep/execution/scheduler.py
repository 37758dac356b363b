"""Executes work units in this process: stages, then cohorts of runs, each after its teacher."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

import torch
from filelock import FileLock

from kdsweep.builders.models import network_label
from kdsweep.common.files import write_json_atomic
from kdsweep.common.text import error_reason
from kdsweep.errors import UserError
from kdsweep.execution.cohort import train_cohort
from kdsweep.execution.context import TrainingContext
from kdsweep.execution.run_writer import EpochCallback
from kdsweep.execution.target import RunTarget, finished_result, has_ended, recorded_result
from kdsweep.execution.teacher_store import load_teacher
from kdsweep.execution.worklist import WorkUnit, inputs, pending
from kdsweep.runs.spec import RunSpec
from kdsweep.tracking.result import RunResult
from kdsweep.tracking.run_dir import RESULT
from kdsweep.training.memory import is_out_of_memory, release_memory


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
    """
    _upload_dependencies(targets, context)
    units = pending(targets, context.sweep, capacity)
    results: dict[str, RunResult] = {}
    announced: set[str] = set()
    for unit in units:
        if unit.role in ("teacher", "assistant"):
            _train_teacher(unit.targets[0], context)
        elif unit.role == "stage":
            _train_stages(unit, units, announced, context)
        else:
            results |= _train_runs(unit, units, context, resume=resume, on_epoch=on_epoch)
    return results


def refuse_without_validation(specs: Sequence[RunSpec], context: TrainingContext) -> None:
    """A search chooses by validation; a data set may bring a split of its own, so it is loaded.

    Raises UserError if a run's data set holds nothing out.
    """
    for spec in specs:
        if context.dataset(spec.config).val is None:
            raise UserError(
                "dataset.val_fraction must be > 0 in a search, got"
                f" {spec.config.dataset.val_fraction:g}: there is nothing to choose by"
            )


def _upload_dependencies(targets: Sequence[RunTarget], context: TrainingContext) -> None:
    """Upload what MLflow lacks of teachers and stages that ended in an earlier process."""
    for target in targets:
        for one in inputs(target, context.sweep):
            if one.run_dir in context.run_dirs:
                continue
            is_there = has_ended(one) if one.spec.role == "stage" else finished_result(one)
            if is_there:
                context.upload_missing(one.run_dir)
            else:
                _upload_dependencies([one], context)


def _train_teacher(target: RunTarget, context: TrainingContext) -> None:
    """Train a teacher unless another process has by now. Its directory is always resumed.

    Raises UserError if its training does not finish.
    """
    network = target.spec.config.student
    store, name = target.run_dir.parent, network_label(network.name, network.model)
    store.mkdir(parents=True, exist_ok=True)  # it can be written, as the preflight has found
    with FileLock(store / f"{target.spec.fingerprint}.lock"):
        if finished_result(target) is not None:
            context.upload_missing(target.run_dir)
            return
        if (target.run_dir / RESULT).exists():
            context.progress.note(
                f"{target.spec.name}: trained again, the one in {target.run_dir} is not complete"
            )
        load_teacher([target.spec], context)  # an assistant's own is announced first
        context.progress.teacher(name, target.spec.config.trainer.epochs)
        (result,) = train_cohort([target], context, resume=True)
    if result.status != "FINISHED":
        raise UserError(f"teacher {name}: {result.reason}")
    context.progress.note(f"teacher {name}: kept in {target.run_dir}")


def _train_stages(
    unit: WorkUnit, units: Sequence[WorkUnit], announced: set[str], context: TrainingContext
) -> None:
    """Train stages in lockstep, except those that another process has trained by now."""
    with ExitStack() as locks:
        for target in sorted(unit.targets, key=lambda target: target.spec.fingerprint):
            locks.enter_context(target.lock())
        missing = tuple(target for target in unit.targets if not has_ended(target))
        for name in dict.fromkeys(target.spec.cell.name for target in missing):
            if name not in announced:
                announced.add(name)
                context.progress.note(f"{name}: trained first")
        if missing:
            _train_runs(WorkUnit(missing), units, context, resume=True)


def _train_runs(
    unit: WorkUnit,
    units: Sequence[WorkUnit],
    context: TrainingContext,
    *,
    resume: bool,
    on_epoch: EpochCallback | None = None,
) -> dict[str, RunResult]:
    load_teacher(unit.specs, context)  # announced before the cohort
    # Cohorts are counted over the runs, and over the stages of a depth.
    same_role = [one for one in units if one.role == unit.role]
    alike = [one for one in same_role if one.role != "stage" or one.depth == unit.depth]
    number = 1 + next(
        (i for i, one in enumerate(alike) if set(unit.targets) <= set(one.targets)), 0
    )
    epochs = unit.specs[0].config.trainer.epochs
    context.progress.cohort(number, len(alike), len(unit.targets), epochs)
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
