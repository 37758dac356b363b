"""The best cells of all sweeps of an experiment: one scan of MLflow, one table a data set.

Accuracies on different images say nothing about each other, so cells are ranked among those that
were measured on the same ones: same source, same split.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from kdsweep.errors import UserError
from kdsweep.report.sources.collection import run_page
from kdsweep.report.sources.merge import measured_on
from kdsweep.report.sources.mlflow import ROLE, ParentIndex, row_of
from kdsweep.tracking.mlflow.store import FOLDER_TAG, MLflowStore

if TYPE_CHECKING:
    from mlflow.entities import Run as Entity
    from rich.console import Console

ID_LENGTH = 8  # of a run, as it is shown; `kdsweep compare` takes it
DATE = re.compile(r"^\d{4}-\d\d-\d\d/")
SWEEP_WIDTH = len("2026-11-21/")

NOTE = (
    "Accuracies in percent: mean ± sample sd over n seeds, of finished runs. Sorted by validation;"
    " run: the best of the cell there. One seed ranks nothing, and the first of many cells is"
    " lucky: `kdsweep report` tests."
)


@dataclass
class LeaderboardEntry:
    """A cell of a sweep, and what its runs have come to."""

    cell: str
    sweep: str  # what `kdsweep report` calls its sweep; of a run without one, empty
    val: list[float] = field(default_factory=list)  # fractions, one a seed
    test: list[float] = field(default_factory=list)
    best: float = -1.0  # val/acc of the best run
    run_id: str = ""

    @property
    def rank(self) -> tuple[bool, float]:
        """The best mean on validation first, cells without one last, by test."""
        return not self.val, -fmean(self.val or self.test)


@dataclass
class Leaderboard:
    """The cells that were measured on the same images, the best first."""

    dataset: str
    details: str  # what tells it from another of the same name
    entries: list[LeaderboardEntry]
    pages: str  # the address that a run's id is added to


def leaderboards(store: MLflowStore) -> list[Leaderboard]:
    """The cells of an experiment, those of each data set by themselves, most runs first.

    Raises:
        UserError: if no run of the experiment has finished.
    """
    everything = store.search(f"tags.`{ROLE}` LIKE '%'")
    runs = [run for run in everything if run.data.tags[ROLE] == "run"]
    roots = ParentIndex(run for run in everything if run.data.tags[ROLE] != "run")
    by_images: dict[tuple[str, ...], dict[tuple[str, str], LeaderboardEntry]] = {}
    for run in runs:
        if run.info.status == "FINISHED":
            cells = by_images.setdefault(_images(run), {})
            _add(cells, run, roots)
    if not by_images:
        raise UserError("--experiment must have a run that has finished, got none")
    return [_board(images, cells, by_images, store) for images, cells in by_images.items()]


def _images(run: "Entity") -> tuple[str, ...]:
    """What a run was measured on: the data set's name, and what it was made and split by."""
    params = run.data.params
    name = str(params.get("dataset.name", params.get("dataset", "")))
    told = measured_on(params)
    return (name, *(f"{key}={told[key]}" for key in sorted(told)))


def _add(cells: dict[tuple[str, str], LeaderboardEntry], run: "Entity", roots: ParentIndex) -> None:
    row, sweep = row_of(run, str(run.info.run_id)), roots.of(run)
    above = roots.runs.get(sweep)
    name = _label(above) if above is not None else ""
    # No sweep has named what tells a single run from others: its like have the same params.
    key = (str(row["cell"]), sweep if above is not None else _like(run))
    entry = cells.setdefault(key, LeaderboardEntry(str(row["cell"]), name))
    for values, measured in ((entry.val, row["val/acc"]), (entry.test, row["test/acc"])):
        if measured is not None:
            values.append(measured)
    score = row["val/acc"] if row["val/acc"] is not None else row["test/acc"] or 0.0
    if score > entry.best:
        entry.best, entry.run_id = score, str(run.info.run_id)


def _label(sweep: "Entity") -> str:
    """`2026-11-21/10-00-00`, `bayes`."""
    folder = str(sweep.data.tags.get(FOLDER_TAG, sweep.info.run_id))
    found = re.search(r"(\d{4}-\d\d-\d\d/)?[^/]+$", folder)
    return found.group() if found else folder


def _like(run: "Entity") -> str:
    params = {key: value for key, value in run.data.params.items() if key != "seed"}
    return json.dumps(params, sort_keys=True)


def _board(
    images: tuple[str, ...],
    cells: dict[tuple[str, str], LeaderboardEntry],
    others: Iterable[tuple[str, ...]],
    store: MLflowStore,
) -> Leaderboard:
    same_name = [set(other) for other in others if other[0] == images[0]]
    shared = set.intersection(*same_name)
    details = ", ".join(word for word in images[1:] if word not in shared)
    entries = [entry for entry in cells.values() if entry.val or entry.test]
    ranked = sorted(entries, key=lambda entry: entry.rank)
    return Leaderboard(images[0], details, ranked, run_page(store.uri, store.experiment_id, ""))


def show(found: Sequence[Leaderboard], limit: int, console: "Console") -> None:
    """Print a table a data set."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    for board in found:
        name = f"{board.dataset} ({board.details})" if board.details else board.dataset
        table = Table(title=escape(name), title_justify="left", box=box.SIMPLE_HEAD)
        table.add_column("cell", overflow="fold", min_width=SWEEP_WIDTH)
        table.add_column("sweep", overflow="fold", min_width=SWEEP_WIDTH)
        for column in ("n", "val/acc", "test/acc"):
            table.add_column(column, justify="right", no_wrap=True)
        table.add_column("run", no_wrap=True)
        for entry in board.entries[:limit]:
            table.add_row(*_line(entry, board.pages))
        console.print(table)
        if (more := len(board.entries) - limit) > 0:
            console.print(f"and {more} more cells: --limit {len(board.entries)}", style="dim")
    console.print(NOTE, style="dim")


def _line(entry: LeaderboardEntry, pages: str) -> list[str]:
    from rich.markup import escape

    run = f"[link={pages}{entry.run_id}]{entry.run_id[:ID_LENGTH]}[/link]"
    n = max(len(entry.val), len(entry.test))
    sweep = DATE.sub(r"\g<0>\n", entry.sweep)  # rather than anywhere within the time
    words = (entry.cell, sweep, str(n), _mean(entry.val), _mean(entry.test))
    return [*map(escape, words), run]


def _mean(values: Sequence[float]) -> str:
    if not values:
        return ""
    spread = f" ±{100 * stdev(values):.2f}" if len(values) > 1 else ""
    return f"{100 * fmean(values):.2f}{spread}"
