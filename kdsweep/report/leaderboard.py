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
from kdsweep.report.sources.mlflow import ROLE, Roots, row_of
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
class Standing:
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
class Board:
    """The cells that were measured on the same images, the best first."""

    dataset: str
    details: str  # what tells it from another of the same name
    standings: list[Standing]
    pages: str  # the address that a run's id is added to


def boards(store: MLflowStore) -> list[Board]:
    """The cells of an experiment, those of each data set by themselves, most runs first.

    Raises:
        UserError: if no run of the experiment has finished.
    """
    everything = store.search(f"tags.`{ROLE}` LIKE '%'")
    runs = [run for run in everything if run.data.tags[ROLE] == "run"]
    roots = Roots(run for run in everything if run.data.tags[ROLE] != "run")
    by_images: dict[tuple[str, ...], dict[tuple[str, str], Standing]] = {}
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


def _add(cells: dict[tuple[str, str], Standing], run: "Entity", roots: Roots) -> None:
    row, sweep = row_of(run, str(run.info.run_id)), roots.of(run)
    above = roots.runs.get(sweep)
    name = _label(above) if above is not None else ""
    # No sweep has named what tells a single run from others: its like have the same params.
    key = (str(row["cell"]), sweep if above is not None else _like(run))
    standing = cells.setdefault(key, Standing(str(row["cell"]), name))
    for values, measured in ((standing.val, row["val/acc"]), (standing.test, row["test/acc"])):
        if measured is not None:
            values.append(measured)
    score = row["val/acc"] if row["val/acc"] is not None else row["test/acc"] or 0.0
    if score > standing.best:
        standing.best, standing.run_id = score, str(run.info.run_id)


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
    cells: dict[tuple[str, str], Standing],
    others: Iterable[tuple[str, ...]],
    store: MLflowStore,
) -> Board:
    same_name = [set(other) for other in others if other[0] == images[0]]
    shared = set.intersection(*same_name)
    details = ", ".join(word for word in images[1:] if word not in shared)
    standings = [standing for standing in cells.values() if standing.val or standing.test]
    ranked = sorted(standings, key=lambda standing: standing.rank)
    return Board(images[0], details, ranked, run_page(store.uri, store.experiment_id, ""))


def show(found: Sequence[Board], limit: int, console: "Console") -> None:
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
        for standing in board.standings[:limit]:
            table.add_row(*_line(standing, board.pages))
        console.print(table)
        if (more := len(board.standings) - limit) > 0:
            console.print(f"and {more} more cells: --limit {len(board.standings)}", style="dim")
    console.print(NOTE, style="dim")


def _line(standing: Standing, pages: str) -> list[str]:
    from rich.markup import escape

    run = f"[link={pages}{standing.run_id}]{standing.run_id[:ID_LENGTH]}[/link]"
    n = max(len(standing.val), len(standing.test))
    sweep = DATE.sub(r"\g<0>\n", standing.sweep)  # rather than anywhere within the time
    words = (standing.cell, sweep, str(n), _mean(standing.val), _mean(standing.test))
    return [*map(escape, words), run]


def _mean(values: Sequence[float]) -> str:
    if not values:
        return ""
    spread = f" ±{100 * stdev(values):.2f}" if len(values) > 1 else ""
    return f"{100 * fmean(values):.2f}{spread}"
