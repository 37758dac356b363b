"""Trains one work unit in this process: a teacher, stages in lockstep, or a cohort of runs."""

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
from kdsweep.execution.worklist import TEACHING, WorkUnit
from kdsweep.runs.spec import RunSpec
from kdsweep.tracking.result import RunResult
from kdsweep.tracking.run_dir import RESULT
from kdsweep.training.memory import is_out_of_memory, release_memory


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
