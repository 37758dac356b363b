"""Profiles a cohort: the steps of the training loop, with each of their parts timed.

All parts of a step are timed in the same step, so that a disturbance of the machine affects the
time of the whole cohort and that of a single unit alike.
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
from kdsweep.training.trainer import (
    AnyTeacher,
    CohortUnit,
    isolate_failures,
    read_epoch,
    step_memory,
    torch_state,
)

WARM_UP = 3  # steps that are not counted: memory is allocated, kernels are chosen
STEPS = 20
EVALUATIONS = 3
BATCHES = 3  # per evaluation; the time of all is extrapolated from theirs
SECONDS = 20.0  # after which slow steps end, once there are
LEAST = 3  # of them


@dataclass(frozen=True)
class StepTiming:
    """Seconds of each part of one step, or of one evaluation."""

    data: float
    teacher: float  # 0 without one
    units: tuple[float, ...]


@dataclass(frozen=True)
class StorageSize:
    """Bytes of a unit's students on disk."""

    students: int
    weights: int  # parameters and buffers, as in the final file of a run
    rest: int  # objective and optimizer, in checkpoints only


@dataclass(frozen=True)
class CohortProfile:
    """Timings and sizes of a cohort."""

    steps: tuple[StepTiming, ...]
    evaluations: tuple[StepTiming, ...]
    images: int  # per evaluation
    sizes: tuple[StorageSize, ...]  # of each unit
    teacher_size: StorageSize | None  # of an online teacher, which is evaluated every epoch
    memory: int | None  # peak bytes of the process, or of the accelerator; None if unknown


def profile_cohort(
    units: Sequence[CohortUnit],
    stream: Stream,
    *,
    teacher: AnyTeacher | None,
    split: Split,
    threads: int,
) -> CohortProfile:
    """Train units for a few steps and evaluate them.

    The units, with a schedule of WARM_UP + STEPS steps, cannot be used afterwards; the global
    random state is restored. A unit that raises has a `failure`, and its timings are meaningless.
    Only the first images of the split are evaluated.
    """
    stopwatch = Stopwatch(stream.device)
    if stream.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(stream.device)
    with torch_state(threads, stream.device):
        # One epoch may have fewer batches than there are steps.
        batches = (batch for epoch in itertools.count() for batch in stream.epoch(epoch))
        numbers = range(WARM_UP + STEPS)
        timings = (_step(units, batches, teacher, number, stopwatch) for number in numbers)
        for _ in range(WARM_UP):
            next(timings)
        steps = tuple(_limit_seconds(timings))
        part = _first_of(split)
        timings = (_evaluation(units, part, teacher, stopwatch) for _ in range(EVALUATIONS))
        evaluations = tuple(_limit_seconds(timings))
    teacher_size = storage_size([teacher.student]) if isinstance(teacher, OnlineTeacher) else None
    return CohortProfile(
        steps,
        evaluations,
        images=len(part.labels),
        sizes=tuple(storage_size(unit.students) for unit in units),
        teacher_size=teacher_size,
        memory=_peak_memory(stream.device),
    )


def _step(
    units: Sequence[CohortUnit],
    batches: Iterator[Batch],
    teacher: AnyTeacher | None,
    step: int,
    stopwatch: "Stopwatch",
) -> StepTiming:
    """One step of `train_epoch`."""
    stopwatch.lap()
    batch = next(batches)
    data = stopwatch.lap()
    with step_memory(units, batch.labels.device):
        target = teacher.targets(batch, step) if teacher else None
        teaching = stopwatch.lap()
        training = []
        for unit in units:
            with isolate_failures(unit):
                unit.step(batch, target, step)
            training.append(stopwatch.lap())
    return StepTiming(data, teaching, tuple(training))


def _evaluation(
    units: Sequence[CohortUnit], split: Split, teacher: AnyTeacher | None, stopwatch: "Stopwatch"
) -> StepTiming:
    """One evaluation, as `fit` makes it at the end of an epoch."""
    stopwatch.lap()
    batches = list(split.batches())
    data = stopwatch.lap()
    split = replace(split, batches=lambda: batches)
    if isinstance(teacher, OnlineTeacher):  # measured as a student
        read_epoch([teacher.student], [split], teacher)
    elif teacher is not None:
        predict(batches, [teacher.logits])
    teaching = stopwatch.lap()
    measuring = []
    for unit in units:
        with isolate_failures(unit):
            read_epoch(unit.students, [split], None)
        measuring.append(stopwatch.lap())
    return StepTiming(data, teaching, tuple(measuring))


def _first_of(split: Split) -> Split:
    """A split with only the first batches."""

    def batches() -> Iterator[Batch]:
        return itertools.islice(split.batches(), BATCHES)

    count = sum(len(batch.labels) for batch in batches())
    return Split(split.name, batches, split.labels[:count])


def _limit_seconds(timings: Iterator[StepTiming]) -> Iterator[StepTiming]:
    """The timings, or fewer if they are slow."""
    until = time.perf_counter() + SECONDS
    for number, timing in enumerate(timings, start=1):
        yield timing
        if number >= LEAST and time.perf_counter() > until:
            return


class Stopwatch:
    """Measures the seconds between laps, including all work queued on the device."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._last = device, 0.0

    def lap(self) -> float:
        if self._device.type != "cpu":
            torch.accelerator.synchronize(self._device)
        last, self._last = self._last, time.perf_counter()
        return self._last - last


def storage_size(students: Sequence[Student]) -> StorageSize:
    """The bytes of these students on disk."""
    rest = [[s.objective.state_dict(), s.optimizer.state_dict()] for s in students]
    rest += [[s.average.state_dict()] for s in students if s.average is not None]
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
    """The most bytes held at once: by the profile on an accelerator, by the process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type != "cpu" or sys.platform == "win32":
        return None
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # kilobytes everywhere else
