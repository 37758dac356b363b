"""The loop: one data stream, one teacher forward, N students side by side.

A single run is a cohort of one; there is no second code path.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch

from kdsweep.data.stream import Stream
from kdsweep.training.allocator import keep_freed_memory
from kdsweep.training.evaluate import Split, evaluating, predict
from kdsweep.training.memory import is_out_of_memory
from kdsweep.training.student import Student
from kdsweep.training.teacher import Teacher

Record = Callable[[Student, dict[str, float]], None]


def fit(
    students: Sequence[Student],
    stream: Stream,
    *,
    teacher: Teacher | None,
    splits: Sequence[Split],
    epochs: int,
    threads: int,
    record: Record,
) -> None:
    """Train every student up to `epochs`; those that were interrupted earlier join in later.

    A student that becomes non-finite or raises ends alone, with `student.failure` saying why. An
    exception of the stream or the teacher ends the whole cohort.

    Args:
        splits: measured at the end of every epoch (`val`, and `test_curve` where it is asked for).
        record: called with each student and its metrics at the end of each of its epochs.
    """
    with isolated(threads):
        splits = [with_teacher(split, teacher) for split in splits]
        for epoch in range(min((s.epoch for s in students), default=epochs), epochs):
            active = [s for s in students if s.epoch == epoch and s.failure is None]
            if not active:
                continue
            started = time.perf_counter()
            for step, batch in enumerate(stream.epoch(epoch)):
                if not active:
                    break
                target = teacher(batch.images) if teacher else None
                for student in active:
                    with failing_alone(student):
                        student.step(batch, target, step)
                active = [s for s in active if s.failure is None]
            seconds = time.perf_counter() - started
            measured = measure(active, splits)
            for student in active:
                student.seconds += seconds
                finish_epoch(student, measured[student], stream.images_per_epoch / seconds, record)


def finish_epoch(
    student: Student, measured: dict[str, float], speed: float, record: Record
) -> None:
    """Close one student's epoch: its metrics, its best epoch, its end if it diverged.

    Args:
        speed: training images a second, at the pace of the whole cohort.
    """
    metrics = {**student.end_epoch(), **measured, "images_per_second": speed}
    if (acc := metrics.get("val/acc")) is not None:
        student.best_acc = max(acc, student.best_acc or 0.0)
    if not torch.isfinite(torch.tensor(metrics.get("val/loss", 0.0))):
        student.fail(f"non-finite validation loss in epoch {student.epoch - 1}")
    record(student, metrics)


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

    with evaluating([student.model for student in students]):
        return predict(split.batches(), [network(student) for student in students])


def with_teacher(split: Split, teacher: Teacher | None) -> Split:
    """The split with the teacher's answer, asked once because it never changes."""
    if teacher is None or split.teacher_logits is not None:
        return split
    (logits,) = predict(split.batches(), [lambda images: teacher(images).logits])
    return replace(split, teacher_logits=logits)


@contextmanager
def failing_alone(student: Student) -> Iterator[None]:
    """Turn an exception of one student's step into that student's end.

    A full memory is the cohort's, not the student's: a smaller cohort may well fit.
    """
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise
        student.fail(f"{type(error).__name__} in epoch {student.epoch}: {error}")


@contextmanager
def isolated(threads: int) -> Iterator[None]:
    """A number of torch threads of its own, and a global random state that is given back."""
    keep_freed_memory()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.set_num_threads(before)
