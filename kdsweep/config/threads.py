"""The number of torch threads: what `auto` is, and the most that a machine has cores for."""

from dataclasses import replace

from kdsweep.common.machine import usable_cores
from kdsweep.config.run_config import ResolvedTeacher, RunConfig
from kdsweep.config.schema import TrainerConfig

AUTO = "auto"


def thread_count(value: object) -> int | None:
    """An integer, or the text of one, as `${oc.env:SLURM_CPUS_PER_TASK}` is; None for all else."""
    if isinstance(value, str):
        return int(value) if value.isdecimal() else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def resolve_threads(config: RunConfig) -> RunConfig:
    """The config with a number in place of `auto`, for the run and in its teachers' recipes.

    It is the physical cores over the processes that train at a time (`search.workers` times
    `trainer.devices`), at least 1.
    """
    workers = config.search.workers or 1
    return replace(
        config,
        trainer=_trainer(config.trainer, workers),
        teacher=_teacher(config.teacher, workers),
    )


def _teacher(teacher: ResolvedTeacher, workers: int) -> ResolvedTeacher:
    below = teacher.teacher
    return replace(
        teacher,
        trainer=_trainer(teacher.trainer, workers),
        teacher=None if below is None else _teacher(below, workers),
        members={name: _teacher(member, workers) for name, member in teacher.members.items()},
    )


def _trainer(trainer: TrainerConfig, workers: int) -> TrainerConfig:
    if trainer.threads == AUTO:
        processes = workers * max(trainer.devices, 1)
        return replace(trainer, threads=max(usable_cores(physical=True) // processes, 1))
    return replace(trainer, threads=thread_count(trainer.threads))
