"""Interleaved rounds: each round times every column once, so that a busy machine affects all alike.

Figures are medians over rounds with the smallest and the largest; a ratio is taken within a round
before its median is, so that what slowed down a whole round cancels.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

Samples = dict[str, list[float]]  # seconds of each round, by column


@dataclass(frozen=True)
class Column:
    """Something to time.

    Attributes:
        run: what is timed; called once a round with the number of the round, 0 for the warm-up.
        scale: how often its seconds count: 3 if it is a third of what the column is of.
    """

    run: Callable[[int], object]
    scale: float = 1.0


@dataclass(frozen=True)
class Spread:
    """A median with the smallest and the largest value."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> "Spread":
        return Spread(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        """`0.294 (0.281..0.312)`."""
        return f"{digits(self.median)} ({digits(self.low)}..{digits(self.high)})"


def digits(value: float) -> str:
    """A ratio as text: `0.335`, `1.04`, `12.3`, `131`."""
    decimals = 3 if value < 0.9995 else 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{decimals}f}"


def time_rounds(
    columns: Mapping[str, Column],
    rounds: int,
    *,
    device: str = "cpu",
    watch: Callable[[int, float], None] = lambda number, seconds: None,
) -> Samples:
    """Seconds of each column in each round, after a round that is not kept.

    Every other round times the columns in reverse, so that none always follows the same one.

    Args:
        watch: called after each round with its number, from 0 for the warm-up, and its seconds.
    """
    samples: Samples = {name: [] for name in columns}
    for number in range(rounds + 1):
        began = time.perf_counter()
        for name in _order(columns, number):
            column = columns[name]
            seconds = column.scale * timed(lambda: column.run(number), device)  # noqa: B023
            if number:
                samples[name].append(seconds)
        watch(number, time.perf_counter() - began)
    return samples


def _order(columns: Mapping[str, Column], number: int) -> Iterator[str]:
    return reversed(list(columns)) if number % 2 else iter(columns)


def timed(work: Callable[[], object], device: str = "cpu") -> float:
    """Seconds that the work takes, with all that it has queued on the device."""
    synchronise(device)
    began = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - began


def synchronise(device: str) -> None:
    """Wait until the device is idle."""
    if torch.device(device).type != "cpu":
        torch.accelerator.synchronize(torch.device(device))


def ratio(over: Sequence[float], *under: Sequence[float]) -> Spread:
    """A column over another one, or over a sum of columns, round by round."""
    totals = [sum(parts) for parts in zip(*under, strict=True)]
    return Spread.of([value / total for value, total in zip(over, totals, strict=True)])
