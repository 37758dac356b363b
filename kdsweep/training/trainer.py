"""The training loop: one data stream and one teacher forward pass for the N students of a cohort.

A single run is a cohort of one; there is no second code path.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Protocol

import torch

from kdsweep.common.types import Batch, Output
from kdsweep.data.pipeline.stream import Stream
from kdsweep.training.determinism import deterministic_kernels
from kdsweep.training.device_group import SINGLE, DeviceGroup
from kdsweep.training.evaluation import ImageScores, Split, eval_mode, evaluate, predict
from kdsweep.training.logit_cache import CachedTeacher, TargetSource
from kdsweep.training.memory import disable_malloc_trim, is_out_of_memory, large_blocks_mapped
from kdsweep.training.online_teacher import OnlineTeacher
from kdsweep.training.readings import Readings, read
from kdsweep.training.student import Student
from kdsweep.training.teacher import Ensemble, Teacher

AnyTeacher = Teacher | Ensemble | CachedTeacher | OnlineTeacher
VAL = "val"  # the split whose figures are also those of weights that are not averaged
Record = Callable[[Student, dict[str, float]], None]


class CohortUnit(Protocol):
    """A member of a cohort: a student, or peers, which are trained and fail together."""

    @property
    def students(self) -> Sequence[Student]: ...

    @property
    def epoch(self) -> int: ...

    @property
    def failure(self) -> str | None: ...

    def fail(self, reason: str) -> None: ...

    def step(self, batch: Batch, target: Output | None, step: int) -> None: ...


class Watcher(Protocol):
    """Follows a training, for a display; called too often to be slow, or to wait for the device."""

    def begin_epoch(self, epoch: int, images: int) -> None:
        """An epoch begins, numbered from 0, of so many images."""

    def step(self, images: int) -> None:
        """A batch of so many images has been trained on."""

    def epoch(self, done: int) -> None:
        """So many epochs are done, evaluated and recorded."""


class Unwatched:
    """The watcher of a training that nobody follows."""

    def begin_epoch(self, epoch: int, images: int) -> None:
        pass

    def step(self, images: int) -> None:
        pass

    def epoch(self, done: int) -> None:
        pass


def fit(
    units: Sequence[CohortUnit],
    stream: Stream,
    *,
    teacher: AnyTeacher | None,
    splits: Sequence[Split],
    epochs: int,
    threads: int,
    record: Record,
    watcher: Watcher | None = None,
    group: DeviceGroup = SINGLE,
) -> None:
    """Train every unit from its own epoch, where it was interrupted, up to `epochs`.

    A unit with a student that becomes non-finite or raises ends alone, with the reason in
    `failure`. An exception of the stream or the teacher ends the whole cohort.

    Args:
        units: students, or peers that are trained as one.
        teacher: an online teacher resumes at its epoch, which must not be after that of a unit.
        splits: measured at the end of every epoch (`val`, and `test` with `test_curve`).
        record: called with each student and its metrics at the end of each of its epochs.
        watcher: follows the training.
        group: the processes that train the cohort, all of which call this, with equal units; the
            stream has the rows of this one. All but the first have no splits.
    """
    watcher = watcher or Unwatched()
    online = [teacher.student] if isinstance(teacher, OnlineTeacher) else []
    everything: list[CohortUnit] = [*units, *online]
    for student in students_of(everything):
        student.group = group
    with torch_state(threads, stream.device):
        if not online:  # the logits of a frozen teacher are computed once
            splits = [with_teacher(split, teacher) for split in splits]
        for epoch in range(min((one.epoch for one in everything), default=epochs), epochs):
            active = [unit for unit in units if unit.epoch == epoch and unit.failure is None]
            if not active and not (online and any(unit.failure is None for unit in units)):
                continue
            watcher.begin_epoch(epoch, stream.images_per_epoch)
            started = time.perf_counter()
            with targets_of_epoch(teacher, stream, epoch, group) as targets:
                active = train_epoch(active, stream, epoch, targets, watcher, group)
            seconds = time.perf_counter() - started
            trained: list[CohortUnit] = [*online, *active]
            students = students_of(trained)
            models = [model for student in students for model in student.models]
            group.synchronize(models, [student.objective for student in students])
            epoch_metrics = read_epoch(students, splits, teacher)
            group.raise_if_lost()  # else numbers that are none would be recorded
            for student, metrics in epoch_metrics.items():
                student.seconds += seconds
                metrics["images_per_second"] = stream.images_per_epoch / seconds
            for one in trained:
                finish_epoch(one, epoch_metrics, record)
            share_failures(everything, group)
            for failed in (one for one in online if one.failure is not None):
                for unit in units:  # a teacher may fail by diverging; its students fail with it
                    unit.fail(f"its teacher: {failed.failure}")
            watcher.epoch(epoch + 1)


def students_of(units: Sequence[CohortUnit]) -> list[Student]:
    """The students of all units, in their order."""
    return [student for unit in units for student in unit.students]


def share_failures(units: Sequence[CohortUnit], group: DeviceGroup) -> None:
    """Have those students failed in every process that have failed in the first one."""
    students = students_of(units)
    reasons = group.from_first([student.failure for student in students])
    for student, reason in zip(students, reasons, strict=True):
        student.failure = reason


@contextmanager
def targets_of_epoch(
    teacher: AnyTeacher | None, stream: Stream, epoch: int, group: DeviceGroup = SINGLE
) -> Iterator[TargetSource | None]:
    """Yield what an epoch's targets come from: the teacher, or those of it that were kept.

    With several processes none are kept: each computes those of its own rows.
    """
    if isinstance(teacher, CachedTeacher) and group.size > 1:
        yield teacher.teacher
    elif isinstance(teacher, CachedTeacher):
        with teacher.epoch(stream, epoch) as targets:
            yield targets
    else:
        yield teacher


def train_epoch(
    units: Sequence[CohortUnit],
    stream: Stream,
    epoch: int,
    teacher: TargetSource | None,
    watcher: Watcher,
    group: DeviceGroup = SINGLE,
) -> list[CohortUnit]:
    """Train the units for one epoch; returns those that have not failed."""
    active = list(units)
    for step, batch in enumerate(stream.epoch(epoch)):
        if not active and not isinstance(teacher, OnlineTeacher):
            break
        with step_memory(active, stream.device):
            target = targets_of(teacher, batch, step, group) if teacher else None
            for place, unit in enumerate(active):
                with isolate_failures(unit, group, f"{epoch}/{step}/{place}"):
                    unit.step(batch, target, step)
        active = [unit for unit in active if unit.failure is None]
        watcher.step(len(batch.labels))
    return active


def targets_of(teacher: TargetSource, batch: Batch, step: int, group: DeviceGroup) -> Output:
    """The targets for the whole batch, from those for the own rows, which it has."""
    if isinstance(teacher, OnlineTeacher):  # a student: it gathers its output itself
        return teacher.targets(batch, step)
    count = len(batch.labels)
    with group.batch_norms(count):  # of features in train mode
        return group.gathered(teacher.targets(batch, step), count)


def step_memory(units: Sequence[CohortUnit], device: torch.device) -> AbstractContextManager[None]:
    """The context of a step, which is the first one of a unit or not; without effect on a GPU."""
    trained = (unit for unit in units if unit.failure is None)
    is_first = any(not student.has_stepped for unit in trained for student in unit.students)
    return large_blocks_mapped() if is_first and device.type == "cpu" else nullcontext()


def read_epoch(
    students: Sequence[Student], splits: Sequence[Split], teacher: AnyTeacher | None
) -> dict[Student, dict[str, float]]:
    """Every student's readings of an epoch and metrics on every split: one transfer for all."""
    measured = measure(students, splits, teacher)
    return dict(
        zip(students, read([{**one.readings(), **measured[one]} for one in students]), strict=True)
    )


def finish_epoch(
    unit: CohortUnit, epoch_metrics: Mapping[Student, Mapping[str, float]], record: Record
) -> None:
    """Record the metrics of an epoch; if one of the students has diverged, all of them fail."""
    metrics_of: dict[Student, dict[str, float]] = {}
    for student in unit.students:
        metrics = metrics_of[student] = student.end_epoch(epoch_metrics[student])
        if (acc := metrics.get("val/acc")) is not None:
            student.best_acc = max(acc, student.best_acc or 0.0)
        if not math.isfinite(metrics.get("val/loss", 0.0)):
            student.fail(f"non-finite validation loss in epoch {student.epoch - 1}")
    propagate_failure(unit)
    for student, metrics in metrics_of.items():
        record(student, metrics)  # which may fail it, too
    propagate_failure(unit)


def propagate_failure(unit: CohortUnit) -> None:
    """If one of the students has failed, fail the others."""
    if unit.failure is not None:
        unit.fail(unit.failure)


def measure(
    students: Sequence[Student], splits: Sequence[Split], teacher: AnyTeacher | None = None
) -> dict[Student, Readings]:
    """Every student's metrics on every split, on the device.

    An online teacher is one of the students, and is evaluated as such; the splits have the logits
    of any other.
    """
    readings: dict[Student, dict[str, torch.Tensor]] = {student: {} for student in students}
    for split in splits:
        averaged = [s for s in students if s.average is not None and split.name == VAL]
        networks = [*(s.logits for s in students), *(s.raw_logits for s in averaged)]
        with eval_mode([model for student in students for model in student.models]):
            scores = evaluate(split, networks)
        for student, own in zip(averaged, scores[len(students) :], strict=True):
            readings[student] |= raw_readings(split, own)
        predicted = split.teacher_predicted
        if isinstance(teacher, OnlineTeacher):
            predicted = scores[students.index(teacher.student)].predicted
        for student, own in zip(students, scores[: len(students)], strict=True):
            # Agreement only for students with a teacher: a run's metrics, too, depend on its config
            # alone, not on the cohort.
            needs_teacher = student.objective.needs_teacher
            readings[student] |= split.readings(own, predicted if needs_teacher else None)
    return dict(readings)


def raw_readings(split: Split, scores: ImageScores) -> Readings:
    """`val/acc_raw` and `val/loss_raw`: the figures without the average of the weights."""
    readings = split.readings(scores)
    return {f"{split.name}/{key}_raw": readings[f"{split.name}/{key}"] for key in ("acc", "loss")}


def student_logits(students: Sequence[Student], split: Split) -> list[torch.Tensor]:
    """Each student's logits (N, C) on a split, in eval mode and in its precision."""
    with eval_mode([student.reported for student in students]):
        return predict(split.batches(), [student.logits for student in students])


def with_teacher(split: Split, teacher: AnyTeacher | None) -> Split:
    """The split with the teacher's logits, unless it has them or there are none."""
    if teacher is None or split.teacher_logits is not None:
        return split
    if isinstance(teacher, Teacher) and not teacher.gives_logits:
        return split
    if isinstance(teacher, CachedTeacher):
        return replace(split, teacher_logits=teacher.split_logits(split))
    (logits,) = predict(split.batches(), [teacher.logits])
    return replace(split, teacher_logits=logits)


@contextmanager
def isolate_failures(
    unit: CohortUnit, group: DeviceGroup = SINGLE, place: str = ""
) -> Iterator[None]:
    """Turn an exception of one unit's step into that unit's failure.

    Not if memory is full: that concerns the whole cohort, and a smaller one may fit. Nor if it
    fails in some of the processes only, at a ``place`` in the training.
    """
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error) or not group.all_fail(place):
            raise
        unit.fail(f"{type(error).__name__} in epoch {unit.epoch}: {error}")


@contextmanager
def torch_state(threads: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Set the number of torch threads, and deterministic kernels of the device.

    Both and the global random state are restored afterwards.
    """
    disable_malloc_trim()
    before, device = torch.get_num_threads(), torch.device(device)
    torch.set_num_threads(threads)
    generators = [device] if device.type == "cuda" else []  # with several GPUs, of one alone
    try:
        with torch.random.fork_rng(generators), deterministic_kernels(device):
            yield
    finally:
        torch.set_num_threads(before)
