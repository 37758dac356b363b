"""What the finished runs of a cell measured epoch by epoch, over seeds.

Histories are files of their own: they are read for the cells that are drawn, and for no others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from kdsweep.report.analysis.aggregate import Cell
from kdsweep.report.sources.collection import Run, RunCollection


@dataclass(frozen=True)
class Curve:
    """One metric of a cell; all lists go with ``epochs``."""

    epochs: list[int]
    mean: list[float]  # over the seeds that got so far
    low: list[float]
    high: list[float]
    n: int  # seeds


def runs_of(collection: RunCollection, cell: Cell) -> list[Run]:
    """The finished runs of a cell, those that were folded into an equal one left out."""
    return [
        run
        for run in collection.runs
        if str(run.row["cell"] or run.row["name"]) == cell.name
        and run.row["same_as"] is None
        and run.row["status"] == "FINISHED"
    ]


def curve(runs: Sequence[Run], key: str) -> Curve | None:
    """A metric over epochs, None if no run has it; what was not finite is left out."""
    values: dict[int, list[float]] = {}
    for run in runs:
        for row in run.history:
            if (value := row["metrics"].get(key)) is not None:
                values.setdefault(row["epoch"], []).append(float(value))
    if not values:
        return None
    epochs = sorted(values)
    return Curve(
        epochs,
        [fmean(values[epoch]) for epoch in epochs],
        [min(values[epoch]) for epoch in epochs],
        [max(values[epoch]) for epoch in epochs],
        max(map(len, values.values())),
    )
