"""Times the steps of nine runs: a user's loop, kdsweep one at a time, in lockstep, and the floor.

All columns of a work are timed in the same rounds. Each has students of its own, which are past
their first step: that one also measures the gradient of every term.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kdsweep.data.pipeline.split import Dataset
from kdsweep.training.student import Student
from kdsweep.training.trainer import torch_state
from speed import floor
from speed.cohorts import GRID, Cohorts, Work
from speed.machine import has_bf16_arithmetic
from speed.rounds import Column, Samples, time_rounds
from speed.solo_loop import SoloRun, make_loader

SOLO, ALONE, LOCKSTEP, TEACHER, FLOOR = "solo", "alone", "lockstep", "teacher", "floor"
CACHED_ALONE, CACHED_LOCKSTEP = "cached alone", "cached lockstep"


@dataclass(frozen=True)
class Setting:
    """A precision and memory format: a row of the table.

    Attributes:
        words: overrides of train.py.
    """

    name: str
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Extent:
    """How much is timed.

    Attributes:
        alone: of the nine separate runs, so many are timed in a round, and count for all nine.
    """

    rounds: int
    alone: int
    threads: int
    device: str = "cpu"


def settings(work: Work) -> list[Setting]:
    """The rows of a work's table; bf16 only where the CPU computes in it."""
    rows = [Setting("fp32 auto")]
    if work.contiguous:
        words = ("trainer.memory_format=contiguous", "teacher.memory_format=contiguous")
        rows.insert(0, Setting("fp32 contiguous", words))
    if has_bf16_arithmetic():
        rows.append(Setting("bf16 auto", ("trainer.precision=bf16",)))
    return rows


def column(setting: str, name: str) -> str:
    """The name of a column of a row in the samples."""
    return f"{setting}: {name}"


def time_steps(
    work: Work,
    images: Sequence[str],
    rows: Sequence[Setting],
    dataset: Dataset,
    extent: Extent,
    watch: Callable[[int, float], None] = lambda number, seconds: None,
) -> Samples:
    """Seconds of the steps of nine runs in each round: `solo`, and `ROW: COLUMN` of each row.

    Args:
        images: overrides for the images that ``dataset`` holds.
        watch: called after every round.
    """
    make = partial(Cohorts, dataset=dataset, threads=extent.threads, device=extent.device)
    cohorts = {row.name: make((*images, *work.words, *row.words)) for row in rows}
    columns = {SOLO: solo_column(next(iter(cohorts.values())), extent)}
    with tempfile.TemporaryDirectory() as folder:
        for name, row in cohorts.items():
            steps = row_columns(row, extent) | cached_columns(row, extent, Path(folder))
            columns |= {column(name, key): value for key, value in steps.items()}
        with torch_state(extent.threads, extent.device):
            return time_rounds(columns, extent.rounds, device=extent.device, watch=watch)


def solo_column(cohorts: Cohorts, extent: Extent) -> Column:
    """The loop of `solo_loop` for some of the nine runs, one after the other."""
    data, teacher = cohorts.dataset, cohorts.plain_teacher()
    loader = make_loader(
        data.train.images[:],
        data.train.labels,
        batch_size=cohorts.config.trainer.batch_size,
        mean=data.mean,
        std=data.std,
        augment=cohorts.config.dataset.augment.flip,
    )
    runs = []
    for T, alpha in GRID[: extent.alone]:
        student = cohorts.plain_student()
        optimizer = floor.plain_optimizer(student, cohorts)
        runs.append(SoloRun(student, teacher, optimizer, T, alpha, extent.device))

    def train(number: int) -> None:
        for run in runs:
            run.train_epoch(loader)

    return Column(train, len(GRID) / extent.alone)


def row_columns(cohorts: Cohorts, extent: Extent) -> dict[str, Column]:
    """The columns of a row."""
    together = cohorts.students()
    batches = floor.ready_batches(cohorts)
    bare = floor.bare_students(cohorts)
    return {
        ALONE: alone_column(cohorts, extent),
        LOCKSTEP: Column(lambda number: cohorts.train_epoch(together)),
        TEACHER: Column(lambda number: teacher_forward(cohorts, batches)),
        FLOOR: Column(lambda number: floor.train_epoch(bare, batches)),
    }


def cached_columns(cohorts: Cohorts, extent: Extent, folder: Path) -> dict[str, Column]:
    """The same runs where an earlier one has kept the teacher's logits of every epoch."""
    kept = cohorts.with_kept_logits(folder)
    earlier, together = kept.students(1), kept.students()
    for _ in range(extent.rounds + 1):
        kept.train_epoch(earlier)
    return {
        CACHED_ALONE: alone_column(kept, extent),
        CACHED_LOCKSTEP: Column(lambda number: kept.train_epoch(together)),
    }


def alone_column(cohorts: Cohorts, extent: Extent) -> Column:
    """Cohorts of one, one after the other."""
    apart: list[Student] = cohorts.students(extent.alone)

    def train(number: int) -> None:
        for student in apart:
            cohorts.train_epoch([student])

    return Column(train, len(GRID) / extent.alone)


def teacher_forward(cohorts: Cohorts, batches: Sequence[floor.ReadyBatch]) -> None:
    """The teacher's forward passes of an epoch, on ready tensors."""
    assert cohorts.teacher is not None, "each of the nine runs has one"
    for batch in batches:
        cohorts.teacher(batch.images)
