"""The best cells of all sweeps of an experiment: one scan of MLflow, one table a data set.

Accuracies on different images are not comparable, so cells are ranked among those that were
measured on the same ones: same source, same split.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING

from kdsweep.errors import UserError
from kdsweep.report.analysis.statistics import summary
from kdsweep.report.formatting import mean_and_sd
from kdsweep.report.sources.merge import measured_on
from kdsweep.report.sources.mlflow import ROLE, ParentIndex, row_of
from kdsweep.tracking.mlflow.pages import run_page
from kdsweep.tracking.mlflow.store import FOLDER_TAG, MLflowStore
from kdsweep.tracking.printing import print_table

if TYPE_CHECKING:
    from mlflow.entities import Run as Entity
    from rich.console import Console

ID_LENGTH = 8  # of a run, as it is shown; `kdsweep compare` takes it
SWEEP_WIDTH = len("2026-11-21/")

NOTE = (
    "Accuracies in percent: mean ± sample sd over n seeds, of finished runs. Sorted by validation;"
    " run: the best of the cell there. One seed ranks nothing, and the first of many cells is"
    " lucky: `kdsweep report` tests."
)


@dataclass
class LeaderboardEntry:
    """A cell of a sweep, and the accuracies of its runs."""

    cell: str
    sweep: str  # the name that `kdsweep report` takes; of a run without a sweep, empty
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
    details: str  # the differences to another data set of the same name
    entries: list[LeaderboardEntry]
    pages: str  # the address that a run's id is added to


def leaderboards(store: MLflowStore) -> list[Leaderboard]:
    """The cells of an experiment, those of each data set by themselves, most runs first.

    Raises UserError if no run of the experiment has finished.
    """
    everything = store.search(f"tags.`{ROLE}` LIKE '%'")
    parents = ParentIndex(run for run in everything if run.data.tags[ROLE] != "run")
    by_images: dict[tuple[str, ...], dict[tuple[str, str], LeaderboardEntry]] = {}
    for run in everything:
        if run.data.tags[ROLE] == "run" and run.info.status == "FINISHED":
            settings = sorted(measured_on(run.data.params).items())
            name = run.data.params.get("dataset.name", run.data.params.get("dataset", ""))
            images = (str(name), *(f"{key}={value}" for key, value in settings))
            _add(by_images.setdefault(images, {}), run, parents)
    if not by_images:
        raise UserError("--experiment must have a run that has finished, got none")
    pages = run_page(store.uri, store.experiment_id, "")
    tables = []
    for images, cells in by_images.items():
        entries = [entry for entry in cells.values() if entry.val or entry.test]
        ranked = sorted(entries, key=lambda entry: entry.rank)
        shared = set.intersection(*(set(other) for other in by_images if other[0] == images[0]))
        details = ", ".join(setting for setting in images[1:] if setting not in shared)
        tables.append(Leaderboard(images[0], details, ranked, pages))
    return tables


def _add(
    cells: dict[tuple[str, str], LeaderboardEntry], run: "Entity", parents: ParentIndex
) -> None:
    row, sweep = row_of(run, str(run.info.run_id)), parents.root_of(run)
    if (parent := parents.runs.get(sweep)) is not None:
        folder = str(parent.data.tags.get(FOLDER_TAG, parent.info.run_id))
        match = re.search(r"(\d{4}-\d\d-\d\d/)?[^/]+$", folder)  # `2026-11-21/10-00-00`, `bayes`
        name, group = match.group() if match else folder, sweep
    else:  # the cell of a single run has no name: its other seeds have the same params
        params = {key: value for key, value in run.data.params.items() if key != "seed"}
        name, group = "", json.dumps(params, sort_keys=True)
    cell = str(row["cell"])
    entry = cells.setdefault((cell, group), LeaderboardEntry(cell, name))
    for values, measured in ((entry.val, row["val/acc"]), (entry.test, row["test/acc"])):
        if measured is not None:
            values.append(measured)
    score = row["val/acc"] if row["val/acc"] is not None else row["test/acc"] or 0.0
    if score > entry.best:
        entry.best, entry.run_id = score, str(run.info.run_id)


def show(tables: Sequence[Leaderboard], limit: int, console: "Console") -> None:
    """Print a table a data set."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    for board in tables:
        name = f"{board.dataset} ({board.details})" if board.details else board.dataset
        table = Table(title=escape(name), title_justify="left", box=box.SIMPLE_HEAD)
        table.add_column("cell", overflow="fold", min_width=SWEEP_WIDTH)
        table.add_column("sweep", overflow="fold", min_width=SWEEP_WIDTH)
        for column in ("n", "val/acc", "test/acc"):
            table.add_column(column, justify="right", no_wrap=True)
        table.add_column("run", no_wrap=True, min_width=ID_LENGTH)
        for entry in board.entries[:limit]:
            run = f"[link={board.pages}{entry.run_id}]{entry.run_id[:ID_LENGTH]}[/link]"
            n = str(max(len(entry.val), len(entry.test)))
            measured = (entry.val, entry.test)
            means = [mean_and_sd(summary(values), " ±") if values else "" for values in measured]
            table.add_row(escape(entry.cell), escape(entry.sweep), n, *means, run)
        print_table(console, table)
        if (more := len(board.entries) - limit) > 0:
            console.print(f"and {more} more cells: --limit {len(board.entries)}", style="dim")
    console.print(NOTE, style="dim")
