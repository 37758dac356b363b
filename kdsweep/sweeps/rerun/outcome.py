"""A run and its rerun compared: their final weights, and their metrics epoch by epoch."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import load_file

from kdsweep.common.text import counted
from kdsweep.tracking.printing import print_line, print_table
from kdsweep.tracking.result import RunResult
from kdsweep.tracking.run_dir import WEIGHTS, Row, read_rows
from kdsweep.training.checkpoint import has_digest

if TYPE_CHECKING:
    from rich.console import Console
    from torch import Tensor

TIMES = ("images_per_second", "latency_ms")  # metrics that are another value each time


@dataclass(frozen=True)
class MetricDifference:
    """A metric that is not the same in all epochs, where it differs most."""

    name: str
    epoch: int
    recorded: float | None  # None where it was not finite
    now: float | None

    @property
    def size(self) -> float:
        """The absolute difference; infinite if one of the two is not finite."""
        if self.recorded is None or self.now is None:
            return inf
        return abs(self.now - self.recorded)


@dataclass(frozen=True)
class Outcome:
    """How a run and its rerun differ.

    Attributes:
        weights: how their final weights differ, in words; None if they are equal in every bit.
        epochs: that both have metrics of.
        metrics: those that differ.
        first_epoch: the first in which a metric differs; None if none does.
    """

    name: str
    digest: str
    weights: str | None
    epochs: int
    metrics: list[MetricDifference]
    first_epoch: int | None

    @property
    def is_same(self) -> bool:
        return self.weights is None and not self.metrics

    @property
    def sentence(self) -> str:
        """Whether the two are the same, or by how much they differ."""
        if self.is_same:
            measured = f" and the metrics of {counted(self.epochs, 'epoch')}" if self.epochs else ""
            return f"{self.name}: the same, bit for bit: weights {self.digest[:16]}{measured}"
        weights = self.weights or "the weights are the same, bit for bit"
        metrics = "the metrics are the same"
        if not self.epochs:
            metrics = "no metrics of the run are recorded"
        elif self.first_epoch is not None:
            metrics = f"the metrics differ from epoch {self.first_epoch} on"
        return f"{self.name}: not the same: {weights}; {metrics}"


def compare(name: str, results: tuple[RunResult, RunResult], folders: tuple[Path, Path]) -> Outcome:
    """The comparison of a finished run with its rerun, in this order."""
    digests = [str(result.weights_sha256) for result in results]
    weights = None
    if digests[0] != digests[1]:
        weights = _weights(digests[0], *(folder / WEIGHTS for folder in folders))
    before, now = (_by_epoch(read_rows(folder)) for folder in folders)
    common = [place for place in before if place in now]
    differing = [place for place in common if before[place] != now[place]]
    largest: dict[str, MetricDifference] = {}
    for epoch, metric in differing:
        difference = MetricDifference(metric, epoch, before[epoch, metric], now[epoch, metric])
        if metric not in largest or difference.size > largest[metric].size:
            largest[metric] = difference
    return Outcome(
        name,
        digests[1],
        weights,
        epochs=len({epoch for epoch, _ in common}),
        metrics=list(largest.values()),
        first_epoch=min((epoch for epoch, _ in differing), default=None),
    )


def _by_epoch(rows: Sequence[Row]) -> dict[tuple[int, str], float | None]:
    """The values of metrics, by epoch and name."""
    return {
        (row["epoch"], name): value
        for row in rows
        for name, value in row["metrics"].items()
        if name not in TIMES
    }


def _weights(digest: str, before: Path, now: Path) -> str:
    """How the weights in two files differ; the former should have this digest."""
    if not before.is_file():
        return f"the weights differ, by how much is unknown without {before}"
    if not has_digest(before, digest):
        return f"the weights differ, by how much is unknown: {before} is damaged"
    first, second = load_file(before), load_file(now)
    if {k: v.shape for k, v in first.items()} != {k: v.shape for k, v in second.items()}:
        return "the weights are those of another network"
    sizes = {name: _largest(first[name], second[name]) for name in first}
    name = max(sizes, key=lambda key: sizes[key])
    differing = sum(size > 0 for size in sizes.values())
    return (
        f"{differing} of {counted(len(sizes), 'tensor')} of the weights differ, by at most"
        f" {sizes[name]:.3g} (in {name})"
    )


def _largest(first: "Tensor", second: "Tensor") -> float:
    """The largest absolute difference of two tensors; infinite if one is finite and one is not."""
    if bool((first == second).all()):
        return 0.0
    difference = (first.double() - second.double()).abs()
    return float(difference.where(first != second, 0.0).nan_to_num(inf, posinf=inf).max())


def show_outcome(outcome: Outcome, console: "Console") -> None:
    """Print the metrics that differ, and whether the two are the same."""
    from rich.table import Table

    if outcome.metrics:
        table = Table("metric", "recorded", "now", "largest difference", "in epoch")
        for one in outcome.metrics:
            values = [_value(one.recorded), _value(one.now), f"{one.size:.3g}"]
            table.add_row(one.name, *values, str(one.epoch))
        print_table(console, table)
    print_line(console, outcome.sentence)


def _value(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.6g}"
