"""Cost model: a sweep's time, disk and memory from the timings of a few steps.

A cohort reads each batch once and runs the teacher once, however many runs it has; one by one, each
of its runs does both for itself. Both times are composed of the same measured pieces.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul
from statistics import median

from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from kdsweep.common.text import shorten
from kdsweep.execution.worklist import TEACHING
from kdsweep.tracking.printing import print_table
from kdsweep.training.checkpoint import KEPT
from kdsweep.training.profiling import CohortProfile, StepTiming

# Half the width of a 95 % interval for a median, in roots of the number of measurements.
NORMAL_95 = 1.96 / 2

LONGEST_NAME = 40  # characters of a name in the table


@dataclass(frozen=True)
class TimeEstimate:
    """A time and its interval, in seconds."""

    low: float
    middle: float
    high: float

    def __add__(self, other: "TimeEstimate") -> "TimeEstimate":
        return TimeEstimate(
            self.low + other.low, self.middle + other.middle, self.high + other.high
        )

    @staticmethod
    def of(samples: Sequence[float]) -> "TimeEstimate":
        """The median, with its 95 % interval: two of the samples themselves, whatever they are."""
        ordered = sorted(samples)
        count = len(ordered)
        rank = max(0, math.floor(count / 2 - NORMAL_95 * math.sqrt(count)))
        return TimeEstimate(ordered[rank], median(ordered), ordered[count - 1 - rank])


NOTHING = TimeEstimate(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class CohortGroup:
    """Cohorts that differ only in their seed, and the timings of one of them."""

    name: str
    role: str  # of its runs: teacher, assistant, stage, run
    left: tuple[tuple[int, ...], ...]  # epochs left to each run of each cohort
    epochs: int  # of each run
    steps_per_epoch: int
    measured: int  # images evaluated at the end of an epoch
    tested: int  # images evaluated when a run has ended
    prediction_bytes: int  # that a run keeps
    needs_teacher: tuple[bool, ...]  # of each run of a cohort
    probe: CohortProfile


# How often each piece of a step, or of an evaluation, occurs: reading and augmenting images, the
# teacher's forward pass, and each unit.
PieceCounts = Sequence[float]
# The epochs left of a cohort, and the positions of those of its runs that are trained.
CohortSlice = tuple[tuple[int, ...], Sequence[int]]


def lockstep(cohorts: CohortGroup) -> TimeEstimate:
    """The time of cohorts that are trained one after the other."""
    return seconds_of(cohorts, [(left, range(len(left))) for left in cohorts.left])


def one_by_one(cohorts: CohortGroup) -> TimeEstimate:
    """The time that the same runs take, each with a stream and a teacher of its own."""
    alone = [(left, [place]) for left in cohorts.left for place in range(len(left))]
    return seconds_of(cohorts, alone)


def seconds_of(cohorts: CohortGroup, slices: Sequence[CohortSlice]) -> TimeEstimate:
    """The time of slices that are trained one after the other."""
    # Added up before a median is taken: what slowed down one piece of a step did so everywhere.
    pieces = [_pieces(cohorts, *one) for one in slices]
    training = [sum(counts) for counts in zip(*(steps for steps, _ in pieces), strict=True)]
    evaluation = [sum(counts) for counts in zip(*(tests for _, tests in pieces), strict=True)]
    return _of(cohorts.probe.steps, training) + _of(cohorts.probe.evaluations, evaluation)


def _pieces(
    cohorts: CohortGroup, left: tuple[int, ...], members: Sequence[int]
) -> tuple[PieceCounts, PieceCounts]:
    """Of the steps; and of validation at the end of every epoch, and of test at the end of all."""
    needs_teacher = any(cohorts.needs_teacher[place] for place in members)
    each = cohorts.steps_per_epoch
    steps = [each * n if place in members else 0 for place, n in enumerate(left)]
    epochs = max(left[place] for place in members)
    # A frozen teacher is evaluated once for all epochs.
    teacher_epochs = 1 if cohorts.probe.teacher_size is None else epochs
    measured = cohorts.measured / cohorts.probe.images
    tested = cohorts.tested / cohorts.probe.images
    units = (measured * n + tested if place in members else 0.0 for place, n in enumerate(left))
    images, seen_by_teacher = measured * epochs + tested, measured * teacher_epochs + tested
    return (
        (max(steps), max(steps) * needs_teacher, *steps),
        (images, seen_by_teacher * needs_teacher, *units),
    )


def _of(laps: Sequence[StepTiming], counts: PieceCounts) -> TimeEstimate:
    """The time of pieces that occur so often, as estimated from each lap."""
    pieces = [(lap.data, lap.teacher, *lap.units) for lap in laps]
    return TimeEstimate.of([sum(map(mul, counts, times)) for times in pieces])


@dataclass(frozen=True)
class Disk:
    """Bytes that a sweep writes."""

    weights: int  # of all networks, for good
    predictions: int  # of all networks, for good
    checkpoints: int  # of the cohort that needs most, while it trains


def disk(everything: Sequence[CohortGroup]) -> Disk:
    """What is kept of all cohorts, and of the largest while it trains."""
    weights = predictions = checkpoints = 0
    for cohorts in everything:
        count, teacher = len(cohorts.left), cohorts.probe.teacher_size
        # Of everything that is trained in one of the cohorts, an online teacher included.
        sizes = [*cohorts.probe.sizes, *([] if teacher is None else [teacher])]
        weights += count * sum(size.weights for size in sizes)
        predictions += count * sum(size.students for size in sizes) * cohorts.prediction_bytes
        checkpoints = max(checkpoints, KEPT * sum(size.weights + size.rest for size in sizes))
    return Disk(weights, predictions, checkpoints)


def format_duration(seconds: float) -> str:
    """`0.4 s`, `14 s`, `1 min 34 s`, `3 h 05 min`, `2 d 4 h`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"


def show(everything: Sequence[CohortGroup], console: Console, *, copied: bool) -> None:
    """Print the estimate of a sweep; ``copied`` is whether MLflow gets a copy of the weights."""
    print_table(console, _table(everything))
    for line in lines(everything, copied=copied):
        console.print(line, highlight=False)
    steps = min(len(cohorts.probe.steps) for cohorts in everything)
    for line in (
        f"Medians of {steps} steps, 95 % interval, on this machine as busy as it is now.",
        "Starting up, files, pictures, the report and MLflow come on top.",
    ):
        console.print(line, style="dim", highlight=False)


def _table(everything: Sequence[CohortGroup]) -> Table:
    table = Table()
    table.add_column("to train", no_wrap=True)
    for name in ("runs", "epochs", "a step", "in lockstep", "one by one"):
        table.add_column(name, justify="right", no_wrap=True)
    for cohorts in everything:
        count, each = len(cohorts.left), len(cohorts.needs_teacher)
        # Each piece of a step once: the data, the teacher, and every run.
        step_ms = 1000 * _of(cohorts.probe.steps, [1] * (2 + each)).middle
        table.add_row(
            escape(shorten(cohorts.name, LONGEST_NAME)),
            str(each) if count == 1 else f"{count} x {each}",
            str(cohorts.epochs),
            f"{step_ms:.1f} ms" if step_ms < 99.95 else f"{step_ms:.0f} ms",
            format_duration(lockstep(cohorts).middle),
            format_duration(one_by_one(cohorts).middle),
        )
    return table


def lines(everything: Sequence[CohortGroup], *, copied: bool) -> list[str]:
    """The totals: time, disk, memory."""
    together = sum(map(lockstep, everything), NOTHING)
    apart = sum(map(one_by_one, everything), NOTHING)
    totals = {"time": f"{_between(together)} in lockstep"}
    if apart.middle > together.middle:
        ratio = apart.middle / together.middle
        totals["one by one"] = f"{_between(apart)}, {ratio:.1f} times as long"
    if teachers := [cohorts for cohorts in everything if cohorts.role in TEACHING]:
        seconds = sum(map(lockstep, teachers), NOTHING).middle
        count = sum(len(left) for cohorts in teachers for left in cohorts.left)
        totals["teachers"] = f"{count} to train first, {format_duration(seconds)} of that time"
    needed = disk(everything)
    again = " (as much again in MLflow)" if copied else ""
    kept = f", {decimal(needed.predictions)} of predictions" if needed.predictions else ""
    totals["disk"] = f"{decimal(needed.weights)} of weights{again}{kept}"
    totals["meanwhile"] = f"{decimal(needed.checkpoints)} of checkpoints"
    known = [cohorts.probe.memory for cohorts in everything if cohorts.probe.memory is not None]
    if known:
        totals["memory"] = f"{decimal(max(known))} at least"
    return [f"{key:<10} {text}" for key, text in totals.items()]


def _between(seconds: TimeEstimate) -> str:
    low, middle, high = map(format_duration, (seconds.low, seconds.middle, seconds.high))
    return f"{middle} ({low} to {high})"
