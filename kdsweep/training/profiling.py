"""What the steps of a cohort cost: the loop's own steps, each of their pieces timed.

The pieces of one step are timed side by side, so that what disturbs the machine disturbs the time
of the whole cohort and that of each of its units alone.
"""

import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from kdsweep.common.types import Batch
from kdsweep.data.pipeline.stream import Stream
from kdsweep.training.evaluation import Split, predict
from kdsweep.training.online_teacher import OnlineTeacher
from kdsweep.training.student import Student
from kdsweep.training.trainer import AnyTeacher, CohortUnit, isolate_failures, measure, torch_state

WARM_UP = 3  # steps that are not counted: memory is touched, kernels are chosen
STEPS = 20
EVALUATIONS = 3
BATCHES = 3  # of an evaluation; their time stands for that of all
SECONDS = 20.0  # after which slow steps are not repeated, once there are
LEAST = 3  # of them


@dataclass(frozen=True)
class StepTiming:
    """Seconds that one step, or one evaluation, has spent on each of its pieces."""

    data: float
    teacher: float  # 0 where there is none
    units: tuple[float, ...]


@dataclass(frozen=True)
class StorageSize:
    """Bytes that the students of a unit keep on disk."""

    students: int
    weights: int  # parameters and buffers, the file that a run ends with
    rest: int  # objective and optimizer, in a checkpoint beside the weights


@dataclass(frozen=True)
class CohortProfile:
    """What a cohort has shown of itself."""

    steps: tuple[StepTiming, ...]
    evaluations: tuple[StepTiming, ...]
    images: int  # of an evaluation
    sizes: tuple[StorageSize, ...]  # of each unit
    teacher_size: (
        StorageSize | None
    )  # of a teacher that learns beside the units; it is asked every epoch
    memory: int | None  # most bytes the process, or the accelerator, has held; None if unknown


def profile_cohort(
    units: Sequence[CohortUnit],
    stream: Stream,
    *,
    teacher: AnyTeacher | None,
    split: Split,
    threads: int,
) -> CohortProfile:
    """Train units for a few steps and evaluate them; nothing but the seconds is kept.

    The units are spoilt by it; the global random state is given back. One that raises has a
    `failure` afterwards, and its seconds mean nothing.

    Args:
        units: with a schedule that lasts for WARM_UP + STEPS steps.
        split: of which the first images are evaluated.
    """
    clock = Stopwatch(stream.device)
    if stream.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(stream.device)
    with torch_state(threads):
        steps = _steps(units, stream, teacher, clock)
        part = _first_of(split)
        laps = (_evaluation(units, part, teacher, clock) for _ in range(EVALUATIONS))
        evaluations = tuple(_while_there_is_time(laps))
    return CohortProfile(
        steps,
        evaluations,
        images=len(part.labels),
        sizes=tuple(storage_size(unit.students) for unit in units),
        teacher_size=storage_size(teacher.students) if isinstance(teacher, OnlineTeacher) else None,
        memory=_peak_memory(stream.device),
    )


def _steps(
    units: Sequence[CohortUnit], stream: Stream, teacher: AnyTeacher | None, clock: "Stopwatch"
) -> tuple[StepTiming, ...]:
    """The laps of the first steps, without those that warm up."""
    batches = _endless(stream)
    laps = (_step(units, batches, teacher, step, clock) for step in range(WARM_UP + STEPS))
    for _ in range(WARM_UP):
        next(laps)
    return tuple(_while_there_is_time(laps))


def _step(
    units: Sequence[CohortUnit],
    batches: Iterator[Batch],
    teacher: AnyTeacher | None,
    step: int,
    clock: "Stopwatch",
) -> StepTiming:
    """One step of the loop, as `train_epoch` takes it."""
    clock.lap()
    batch = next(batches)
    data = clock.lap()
    target = teacher.targets(batch, step) if teacher else None
    taught = clock.lap()
    learnt = []
    for unit in units:
        with isolate_failures(unit):
            unit.step(batch, target, step)
        learnt.append(clock.lap())
    return StepTiming(data, taught, tuple(learnt))


def _endless(stream: Stream) -> Iterator[Batch]:
    """The batches of one epoch after the other; one may have fewer than are probed."""
    for epoch in itertools.count():
        yield from stream.epoch(epoch)


def _evaluation(
    units: Sequence[CohortUnit], split: Split, teacher: AnyTeacher | None, clock: "Stopwatch"
) -> StepTiming:
    """One evaluation, as `fit` does it at the end of an epoch."""
    clock.lap()
    batches = list(split.batches())
    data = clock.lap()
    split = replace(split, batches=lambda: batches)
    if teacher is not None:
        predict(batches, [lambda images: teacher(images).logits])
    if isinstance(teacher, OnlineTeacher):  # measured as a student, too
        measure(teacher.students, [split])
    taught = clock.lap()
    measured = []
    for unit in units:
        with isolate_failures(unit):
            measure(unit.students, [split])
        measured.append(clock.lap())
    return StepTiming(data, taught, tuple(measured))


def _first_of(split: Split) -> Split:
    """A split of the first batches alone."""

    def batches() -> Iterator[Batch]:
        return itertools.islice(iter(split.batches()), BATCHES)

    count = sum(len(batch.labels) for batch in batches())
    return Split(split.name, batches, split.labels[:count])


def _while_there_is_time(laps: Iterator[StepTiming]) -> Iterator[StepTiming]:
    """The laps, or fewer if they are slow."""
    until = time.perf_counter() + SECONDS
    for number, lap in enumerate(laps, start=1):
        yield lap
        if number >= LEAST and time.perf_counter() > until:
            return


class Stopwatch:
    """Tells the seconds since it was last asked, once the device has done what it was told."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._last = device, 0.0

    def lap(self) -> float:
        if self._device.type != "cpu":
            torch.accelerator.synchronize(self._device)
        last, self._last = self._last, time.perf_counter()
        return self._last - last


def storage_size(students: Sequence[Student]) -> StorageSize:
    """What students keep on disk."""
    rest = [[s.objective.state_dict(), s.optimizer.state_dict()] for s in students]
    weights = [student.model.state_dict() for student in students]
    return StorageSize(len(students), _bytes(weights), _bytes(rest))


def _bytes(state: Any) -> int:
    """Bytes of all tensors in a nest of mappings and lists."""
    if isinstance(state, Tensor):
        return state.numel() * state.element_size()
    if isinstance(state, dict):
        return sum(map(_bytes, state.values()))
    return sum(map(_bytes, state)) if isinstance(state, list) else 0


def _peak_memory(device: torch.device) -> int | None:
    """Most bytes held at once: of the accelerator by the probe, of the machine by the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type != "cpu" or sys.platform == "win32":
        return None
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # kilobytes everywhere else
