"""A sweep that has been trained: its table, its answer, its report and its runs."""

import os
from collections.abc import Sequence
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdsweep.errors import UserError
from kdsweep.report.analysis.aggregate import Grid, grid
from kdsweep.report.cell_table import terminal_table
from kdsweep.report.conclusions import conclusions
from kdsweep.report.files import write_report
from kdsweep.report.mlflow_publish import publish_if_possible
from kdsweep.report.sources.address import Address
from kdsweep.report.sources.collection import FolderRun, Run, RunCollection
from kdsweep.report.sources.lookup import Source, find
from kdsweep.tracking.results_table import COLUMNS, REPORT, ResultRow, ranked

if TYPE_CHECKING:
    import pandas as pd

    from kdsweep.deploy.classifier import Classifier


def open(
    sweep: str | os.PathLike[str] = "", *, uri: str | None = None, experiment: str | None = None
) -> "Sweep":
    """A sweep that was trained earlier, here or elsewhere.

    Args:
        sweep: its folder, its name under multirun/, the id of its run in MLflow, or a filter of
            MLflow's such as `params.loss = 'kl'`; by default the latest sweep of this folder.
        uri: the MLflow store; by default MLFLOW_TRACKING_URI, else mlflow.db in this folder.
        experiment: its name in MLflow; by default MLFLOW_EXPERIMENT_NAME, else kdsweep.

    Raises UserError if there is no such sweep.
    """
    word = os.fspath(sweep)
    return Sweep(find([word] if word else [], Address(uri, experiment)))


class SweepRun:
    """One run of a sweep; everything but its row is read on access."""

    def __init__(self, run: Run) -> None:
        self._run = run

    @property
    def row(self) -> ResultRow:
        """Its row of results.csv: `cell`, `seed`, `val/acc`, `test/acc`, `status` and so on."""
        return self._run.row

    @property
    def name(self) -> str:
        """Its cell and seed."""
        return str(self.row["name"])

    @property
    def folder(self) -> Path | None:
        """Its folder; None if only MLflow has the run."""
        return self._run.folder if isinstance(self._run, FolderRun) else None

    @property
    def config(self) -> dict[str, Any]:
        """The resolved config that it was trained from."""
        return self._run.config

    @cached_property
    def metrics(self) -> "pd.DataFrame":
        """Its metrics, a row an epoch: `train/loss`, `val/acc`, `lr` and so on."""
        import pandas as pd

        epochs: dict[int, dict[str, Any]] = {}
        for row in self._run.history:  # test has a row of its own in the last epoch
            epochs.setdefault(row["epoch"], {"epoch": row["epoch"]}).update(row["metrics"])
        return pd.DataFrame(list(epochs.values()))

    def load(self, *, device: str = "cpu", allow: Sequence[str] = ()) -> "Classifier":
        """Its trained network, ready for `predict`.

        Args:
            device: `cpu`, `cuda` or `auto`.
            allow: modules of yours whose networks may be built, as for `kdsweep.load`.

        Raises UserError if the run has not finished.
        """
        from kdsweep.deploy.sources import load

        source = self.folder or self.row["mlflow_run_id"] or self.row["fingerprint"]
        return load(source, device=device, allow=allow)

    def __repr__(self) -> str:
        return f"<kdsweep run {self.name}: {self.row['status']}>"


class Sweep:
    """A sweep, a search, or several read as one. Read when made; `kdsweep.open` reads anew.

    In a notebook it is shown as the table of its cells and its answer.
    """

    def __init__(self, source: Source) -> None:
        self._source = source

    @property
    def name(self) -> str:
        """Its words on the command line."""
        return self._collection.name

    @property
    def folder(self) -> Path:
        """The folder of its results and its report."""
        return self._collection.folder

    @cached_property
    def runs(self) -> list[SweepRun]:
        """All runs in the order of the sweep, with those that have not finished."""
        return [SweepRun(run) for run in self._collection.runs]

    @cached_property
    def results(self) -> "pd.DataFrame":
        """results.csv: a row a run, in the order of the sweep."""
        import pandas as pd

        return pd.DataFrame(self._collection.rows, columns=list(COLUMNS))

    @cached_property
    def cells(self) -> Grid:
        """The cells over their seeds: means, intervals, paired comparisons, and the best one."""
        return grid(self._collection.rows)

    @property
    def answer(self) -> str:
        """What the sweep shows, in sentences: the best cell, chosen on validation, and its lead."""
        return "\n".join(conclusions(self.cells, self._collection.missing))

    def best(self) -> SweepRun:
        """The best finished run by validation accuracy; test takes no part in the choice.

        Raises UserError if no run has finished, or nothing was held out to choose by.
        """
        finished = {id(run.row): run for run in self._collection.finished_runs()}
        rows = ranked(run.row for run in finished.values())
        if not rows or rows[0]["val/acc"] is None:
            raise UserError(
                f"{self.name} must have a finished run with val/acc to have a best one, got none"
            )
        return SweepRun(finished[id(rows[0])])

    def report(self) -> Path:
        """Write report.html, report.md, table.tex and results.csv, here and in MLflow.

        Returns the path of report.html. Raises OSError if the folder cannot be written.
        """
        publish_if_possible(write_report(self._collection), self._source)
        return self.folder / REPORT

    def _repr_html_(self) -> str:
        """The table of its cells and its answer, for a notebook."""
        import pandas as pd

        table = terminal_table(self.cells)
        rows = pd.DataFrame(table.rows, columns=table.header).to_html(index=False, border=0)
        sentences = "<br>".join(escape(line) for line in self.answer.splitlines())
        return f"{rows}<small>{escape(table.note)}</small><p>{sentences}</p>"

    @property
    def _collection(self) -> RunCollection:
        return self._source.collection

    def __repr__(self) -> str:
        finished = len(self._collection.finished_runs())
        return f"<kdsweep sweep {self.name}: {finished} of {len(self.runs)} runs finished>"
