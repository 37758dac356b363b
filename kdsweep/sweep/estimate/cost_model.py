"""What a sweep would take, from what a few of its steps took. Pure arithmetic, and its table.

A cohort reads each batch once and asks the teacher once, whoever trains in it; run by run, each of
its runs does both for itself. Either time is put together from the same measured pieces.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from statistics import median
from typing import TYPE_CHECKING

from kdsweep.training.checkpoint import KEPT
from kdsweep.training.profiling import CohortProfile, StepTiming, StorageSize

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

# Half the width of a 95 % interval for a median, in roots of the number of measurements.
NORMAL_95 = 1.96 / 2

TEACHING = ("teacher", "assistant")  # roles


@dataclass(frozen=True)
class Seconds:
    """A time, and between which two it is likely to be."""

    low: float
    middle: float
    high: float

    def __add__(self, other: "Seconds") -> "Seconds":
        return Seconds(self.low + other.low, self.middle + other.middle, self.high + other.high)

    @staticmethod
    def of(samples: Sequence[float]) -> "Seconds":
        """The median, with its 95 % interval: two of the samples themselves, whatever they are."""
        ordered = sorted(samples)
        count = len(ordered)
        rank = max(0, math.floor(count / 2 - NORMAL_95 * math.sqrt(count)))
        return Seconds(ordered[rank], median(ordered), ordered[count - 1 - rank])


NOTHING = Seconds(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Epochs:
    """The epochs of a run."""

    number: int
    steps: int  # in each
    measured: int  # images evaluated at the end of each


@dataclass(frozen=True)
class Cohorts:
    """Cohorts that differ in their seed alone, and what one of them has shown of itself."""

    name: str
    role: str  # of its runs: teacher, assistant, stage, run
    left: tuple[tuple[int, ...], ...]  # epochs left to each run of each cohort
    epochs: Epochs
    tested: int  # images evaluated when a run has ended
    answers: int  # bytes that it keeps of what its network has said of them
    asks: tuple[bool, ...]  # which runs of a cohort ask its teacher
    probe: CohortProfile

    @property
    def runs(self) -> int:
        """Runs in all of the cohorts."""
        return sum(map(len, self.left))

    @property
    def step(self) -> Seconds:
        """One step of one cohort."""
        return _of(self.probe.steps, Times(1, 1, (1,) * len(self.asks)))


@dataclass(frozen=True)
class Times:
    """How often each piece of a step, or of an evaluation, occurs."""

    shared: float  # reading and augmenting images
    asked: float  # the teacher
    units: tuple[float, ...]

    def __add__(self, other: "Times") -> "Times":
        units = tuple(map(add, self.units, other.units))
        return Times(self.shared + other.shared, self.asked + other.asked, units)


Company = tuple[tuple[int, ...], Sequence[int]]  # epochs left of a cohort, places of who trains


def lockstep(cohorts: Cohorts) -> Seconds:
    """The time that cohorts take, one after the other."""
    return _seconds(cohorts, [(left, range(len(left))) for left in cohorts.left])


def one_by_one(cohorts: Cohorts) -> Seconds:
    """The time that the same runs take, each with a stream and a teacher of its own."""
    alone = [(left, [place]) for left in cohorts.left for place in range(len(left))]
    return _seconds(cohorts, alone)


def _seconds(cohorts: Cohorts, companies: Sequence[Company]) -> Seconds:
    """The time of those who train side by side, one company after the other."""
    # Added up before a median is taken: what slowed down one piece of a step did so everywhere.
    training = reduce(add, [_training(cohorts, *company) for company in companies])
    evaluation = reduce(add, [_evaluation(cohorts, *company) for company in companies])
    return _of(cohorts.probe.steps, training) + _of(cohorts.probe.evaluations, evaluation)


def _training(cohorts: Cohorts, left: tuple[int, ...], who: Sequence[int]) -> Times:
    steps = [cohorts.epochs.steps * (n if place in who else 0) for place, n in enumerate(left)]
    return Times(max(steps), max(steps) * _ask(cohorts, who), tuple(steps))


def _evaluation(cohorts: Cohorts, left: tuple[int, ...], who: Sequence[int]) -> Times:
    """Of validation at the end of every epoch, and of test at the end of all."""
    epochs = max(left[place] for place in who)
    # A frozen teacher answers once for all epochs.
    answers = 1 if cohorts.probe.teacher_size is None else epochs
    measured = cohorts.epochs.measured / cohorts.probe.images
    tested = cohorts.tested / cohorts.probe.images
    units = (measured * n + tested if place in who else 0.0 for place, n in enumerate(left))
    return Times(
        measured * epochs + tested,
        (measured * answers + tested) * _ask(cohorts, who),
        tuple(units),
    )


def _ask(cohorts: Cohorts, who: Sequence[int]) -> bool:
    return any(cohorts.asks[place] for place in who)


def _of(laps: Sequence[StepTiming], times: Times) -> Seconds:
    """The time of pieces that occur so often, each lap giving one answer."""

    def seconds(lap: StepTiming) -> float:
        units = sum(n * one for n, one in zip(times.units, lap.units, strict=True))
        return times.shared * lap.data + times.asked * lap.teacher + units

    return Seconds.of([seconds(lap) for lap in laps])


@dataclass(frozen=True)
class Disk:
    """Bytes that a sweep writes."""

    weights: int  # of all networks, for good
    answers: int  # of all networks, for good
    checkpoints: int  # of the cohort that needs most, while it trains


def disk(everything: Sequence[Cohorts]) -> Disk:
    """What is kept of all cohorts, and of the largest while it trains."""
    needed = [
        Disk(
            len(cohorts.left) * sum(size.weights for size in sizes(cohorts)),
            len(cohorts.left) * sum(size.students for size in sizes(cohorts)) * cohorts.answers,
            KEPT * sum(size.weights + size.rest for size in sizes(cohorts)),
        )
        for cohorts in everything
    ]
    return Disk(
        sum(one.weights for one in needed),
        sum(one.answers for one in needed),
        max((one.checkpoints for one in needed), default=0),
    )


def sizes(cohorts: Cohorts) -> list[StorageSize]:
    """Of everything that is trained in one of the cohorts."""
    beside = cohorts.probe.teacher_size
    return [*cohorts.probe.sizes, *([] if beside is None else [beside])]


def as_duration(seconds: float) -> str:
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


def bytes_told(count: int) -> str:
    """`340 kB`, `1.2 MB`, `15 GB`."""
    size, unit = count / 1000, "kB"
    for larger in ("MB", "GB", "TB"):
        if size < 999.5:
            break
        size, unit = size / 1000, larger
    return f"{size:.1f} {unit}" if size < 9.95 else f"{size:.0f} {unit}"


def show(everything: Sequence[Cohorts], console: "Console", *, copied: bool) -> None:
    """Print what a sweep would take.

    Args:
        copied: whether MLflow gets a copy of the weights.
    """
    console.print(_table(everything))
    for line in lines(everything, copied=copied):
        console.print(line, highlight=False)
    steps = min(len(cohorts.probe.steps) for cohorts in everything)
    for line in (
        f"Medians of {steps} steps, 95 % interval, on this machine as busy as it is now.",
        "Starting up, files, pictures, the report and MLflow come on top.",
    ):
        console.print(line, style="dim", highlight=False)


def _table(everything: Sequence[Cohorts]) -> "Table":
    from rich.markup import escape
    from rich.table import Table

    table = Table()
    table.add_column("to train", no_wrap=True, overflow="ellipsis")
    for name in ("runs", "epochs", "a step", "in lockstep", "one by one"):
        table.add_column(name, justify="right", no_wrap=True)
    for cohorts in everything:
        table.add_row(
            escape(cohorts.name),
            _runs(cohorts),
            str(cohorts.epochs.number),
            _milliseconds(cohorts.step),
            as_duration(lockstep(cohorts).middle),
            as_duration(one_by_one(cohorts).middle),
        )
    return table


def _runs(cohorts: Cohorts) -> str:
    count, each = len(cohorts.left), len(cohorts.asks)
    return str(each) if count == 1 else f"{count} x {each}"


def _milliseconds(step: Seconds) -> str:
    milliseconds = 1000 * step.middle
    return f"{milliseconds:.1f} ms" if milliseconds < 99.95 else f"{milliseconds:.0f} ms"


def lines(everything: Sequence[Cohorts], *, copied: bool) -> list[str]:
    """What it comes to: time, disk, memory."""
    together = sum(map(lockstep, everything), NOTHING)
    apart = sum(map(one_by_one, everything), NOTHING)
    told = {"time": f"{_between(together)} in lockstep"}
    if apart.middle > together.middle:
        ratio = apart.middle / together.middle
        told["one by one"] = f"{_between(apart)}, {ratio:.1f} times as long"
    if teachers := [cohorts for cohorts in everything if cohorts.role in TEACHING]:
        seconds = sum(map(lockstep, teachers), NOTHING).middle
        count = sum(cohorts.runs for cohorts in teachers)
        told["teachers"] = f"{count} to train first, {as_duration(seconds)} of that time"
    needed = disk(everything)
    again = " (as much again in MLflow)" if copied else ""
    answers = f", {bytes_told(needed.answers)} of answers" if needed.answers else ""
    told["disk"] = f"{bytes_told(needed.weights)} of weights{again}{answers}"
    told["meanwhile"] = f"{bytes_told(needed.checkpoints)} of checkpoints"
    known = [cohorts.probe.memory for cohorts in everything if cohorts.probe.memory is not None]
    if known:
        told["memory"] = f"{bytes_told(max(known))} at least"
    return [f"{key:<10} {text}" for key, text in told.items()]


def _between(seconds: Seconds) -> str:
    low, middle, high = map(as_duration, (seconds.low, seconds.middle, seconds.high))
    return f"{middle} ({low} to {high})"
