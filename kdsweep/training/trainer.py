"""The loop: one data stream, one teacher forward, N students side by side.

A single run is a cohort of one; there is no second code path.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

import torch

from kdsweep.common.types import Batch, Output
from kdsweep.data.pipeline.stream import Stream
from kdsweep.training.evaluation import Split, eval_mode, predict
from kdsweep.training.memory import disable_malloc_trim, is_out_of_memory
from kdsweep.training.online_teacher import OnlineTeacher
from kdsweep.training.student import Student
from kdsweep.training.teacher import Ensemble, Teacher

AnyTeacher = Teacher | Ensemble | OnlineTeacher
Record = Callable[[Student, dict[str, float]], None]


class Trainable(Protocol):
    """What is trained and ends as one."""

    @property
    def students(self) -> Sequence[Student]: ...

    @property
    def epoch(self) -> int: ...

    @property
    def failure(self) -> str | None: ...

    def fail(self, reason: str) -> None: ...


class CohortUnit(Trainable, Protocol):
    """What steps in a cohort: a student, or peers that teach each other."""

    def step(self, batch: Batch, target: Output | None, step: int) -> None: ...


def fit(
    units: Sequence[CohortUnit],
    stream: Stream,
    *,
    teacher: AnyTeacher | None,
    splits: Sequence[Split],
    epochs: int,
    threads: int,
    record: Record,
) -> None:
    """Train every unit up to `epochs`; those that were interrupted earlier join in later.

    A unit of which a student becomes non-finite or raises ends alone, with `failure` saying why. An
    exception of the stream or the teacher ends the whole cohort.

    Args:
        units: students, or peers that are trained as one.
        teacher: one that trains beside them goes on from its epoch, which must not be after theirs.
        splits: measured at the end of every epoch (`val`, and `test_curve` where it is asked for).
        record: called with each student and its metrics at the end of each of its epochs.
    """
    beside = [teacher] if isinstance(teacher, OnlineTeacher) else []
    everyone: list[Trainable] = [*units, *beside]
    with torch_state(threads):
        if not beside:  # a frozen teacher never changes: once is enough
            splits = [with_teacher(split, teacher) for split in splits]
        for epoch in range(min((one.epoch for one in everyone), default=epochs), epochs):
            active = [unit for unit in units if unit.epoch == epoch and unit.failure is None]
            if not active and not (beside and any(unit.failure is None for unit in units)):
                continue
            started = time.perf_counter()
            active = train_epoch(active, stream, epoch, teacher)
            seconds = time.perf_counter() - started
            trained: list[Trainable] = [*beside, *active]
            measured = measure(
                [student for learner in trained for student in learner.students],
                [with_teacher(split, teacher) for split in splits],
            )
            for student, metrics in measured.items():
                student.seconds += seconds
                metrics["images_per_second"] = stream.images_per_epoch / seconds
            for learner in trained:
                finish_epoch(learner, measured, record)
            propagate_teacher_failure(units, beside)


def train_epoch(
    units: Sequence[CohortUnit], stream: Stream, epoch: int, teacher: AnyTeacher | None
) -> list[CohortUnit]:
    """One epoch of the units side by side; those that are still there at its end."""
    active = list(units)
    for step, batch in enumerate(stream.epoch(epoch)):
        if not active and not isinstance(teacher, OnlineTeacher):
            break
        target = teacher.targets(batch, step) if teacher else None
        for unit in active:
            with isolate_failures(unit):
                unit.step(batch, target, step)
        active = [unit for unit in active if unit.failure is None]
    return active


def propagate_teacher_failure(units: Sequence[CohortUnit], beside: Sequence[OnlineTeacher]) -> None:
    """A teacher that trains beside its students and diverges is no teacher: they end with it."""
    for teacher in beside:
        if teacher.failure is not None:
            for unit in units:
                unit.fail(f"its teacher: {teacher.failure}")


def finish_epoch(
    learner: Trainable, measured: Mapping[Student, Mapping[str, float]], record: Record
) -> None:
    """Close an epoch: the students' metrics, best epochs, and their end if one has diverged."""
    found = {student: close_epoch(student, measured[student]) for student in learner.students}
    propagate_failure(learner)
    for student, metrics in found.items():
        record(student, metrics)  # which may end it, too
    propagate_failure(learner)


def close_epoch(student: Student, measured: Mapping[str, float]) -> dict[str, float]:
    """A student's metrics of an epoch; fails it if it has diverged."""
    metrics = {**student.end_epoch(), **measured}
    if (acc := metrics.get("val/acc")) is not None:
        student.best_acc = max(acc, student.best_acc or 0.0)
    if not torch.isfinite(torch.tensor(metrics.get("val/loss", 0.0))):
        student.fail(f"non-finite validation loss in epoch {student.epoch - 1}")
    return metrics


def propagate_failure(learner: Trainable) -> None:
    """If one student of a unit has ended, so have the others."""
    if learner.failure is not None:
        learner.fail(learner.failure)


def measure(
    students: Sequence[Student], splits: Sequence[Split]
) -> dict[Student, dict[str, float]]:
    """Every student's metrics on every split."""
    found: dict[Student, dict[str, float]] = {student: {} for student in students}
    for split in splits:
        for student, logits in zip(students, student_logits(students, split), strict=True):
            # Only of a student that is taught: metrics, too, depend on a run's own config alone.
            found[student] |= split.metrics(logits, agreement=student.objective.needs_teacher)
    return found


def student_logits(students: Sequence[Student], split: Split) -> list[torch.Tensor]:
    """Each student's logits (N, C) on a split, in eval mode and its own precision."""

    def network(student: Student) -> Callable[[torch.Tensor], torch.Tensor]:
        def logits(images: torch.Tensor) -> torch.Tensor:
            with student.autocast():
                return student.network(images).logits

        return logits

    with eval_mode([student.model for student in students]):
        return predict(split.batches(), [network(student) for student in students])


def with_teacher(split: Split, teacher: AnyTeacher | None) -> Split:
    """The split with the teacher's answer, asked once because it never changes."""
    if teacher is None or split.teacher_logits is not None:
        return split
    (logits,) = predict(split.batches(), [lambda images: teacher(images).logits])
    return replace(split, teacher_logits=logits)


@contextmanager
def isolate_failures(unit: CohortUnit) -> Iterator[None]:
    """Turn an exception of one unit's step into that unit's end.

    A full memory is the cohort's, not the unit's: a smaller cohort may well fit.
    """
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise
        unit.fail(f"{type(error).__name__} in epoch {unit.epoch}: {error}")


@contextmanager
def torch_state(threads: int) -> Iterator[None]:
    """A number of torch threads of its own, and a global random state that is given back."""
    disable_malloc_trim()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.set_num_threads(before)
