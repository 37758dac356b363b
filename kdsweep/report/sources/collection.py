"""The runs of one sweep or several that a report is about, read from folders or from MLflow.

Everything but the rows is read on access: a table of 1,000 runs opens no other file.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from omegaconf import OmegaConf

from kdsweep.config.interpolation import raw
from kdsweep.errors import UserError
from kdsweep.report.analysis.aggregate import cell_name, is_finished
from kdsweep.report.sources.images import DatasetLoader, load_dataset
from kdsweep.tracking import run_dir
from kdsweep.tracking.deployed import FOLDER, Records, read_records
from kdsweep.tracking.metadata import read_sweep_metadata
from kdsweep.tracking.mlflow.pages import run_page
from kdsweep.tracking.predictions import TEACHER_PREDICTIONS_DIR, Predictions, load_predictions
from kdsweep.tracking.results_table import ResultRow, collect

log = logging.getLogger(__name__)


class Run(ABC):
    """One run, in a folder or in MLflow; everything but its row is read on access."""

    def __init__(self, row: ResultRow) -> None:
        self.row = row  # of results.csv, with `kdsweep.tracking.results_table.COLUMNS` as keys

    def with_row(self, row: ResultRow) -> Self:
        """The same run with another row."""
        run = copy(self)
        run.row = row
        return run

    @property
    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The resolved config that it was trained from."""

    @property
    @abstractmethod
    def history(self) -> list[run_dir.Row]:
        """Its metrics, epoch by epoch."""

    @property
    @abstractmethod
    def predictions(self) -> Predictions | None:
        """Its logits; None where they were not kept (`tracking.answers`), or it did not finish."""

    @property
    @abstractmethod
    def teacher_predictions(self) -> Predictions | None:
        """Its teacher's logits; None where it had none or they were not kept."""

    @property
    @abstractmethod
    def deployed(self) -> Records:
        """What `deploy=...`, `kdsweep export`, `quantize` and `bench` have recorded of it."""


@dataclass(frozen=True)
class RunCollection:
    """The runs of a report."""

    name: str  # of the sweep, as on its command line; of several, joined by " + "
    runs: list[Run]  # in the order of the sweep; unfinished and folded ones, too
    folder: Path  # that the report is written to
    missing: tuple[str, ...] = ()  # runs that were requested and have left nothing, `12`
    links: Mapping[str, str] = field(default_factory=dict)  # a run's id in MLflow -> its page
    load: DatasetLoader = load_dataset  # for the images of a run

    @property
    def rows(self) -> list[ResultRow]:
        return [run.row for run in self.runs]

    def finished_runs(self, cell: str | None = None) -> list[Run]:
        """The finished runs, of a cell or of all; those folded into an equal one are left out."""
        finished = [run for run in self.runs if is_finished(run.row)]
        return [run for run in finished if cell is None or cell_name(run.row) == cell]


class FolderRun(Run):
    """A run in its folder."""

    def __init__(self, row: ResultRow, folder: Path, sweep: Path) -> None:
        super().__init__(row)
        self.folder, self.sweep = folder, sweep

    @cached_property
    def config(self) -> dict[str, Any]:
        return raw(OmegaConf.load(self.folder / run_dir.CONFIG))

    @cached_property
    def history(self) -> list[run_dir.Row]:
        return run_dir.read_rows(self.folder)

    @cached_property
    def predictions(self) -> Predictions | None:
        return _predictions(self.folder / run_dir.PREDICTIONS)

    @cached_property
    def teacher_predictions(self) -> Predictions | None:
        own = self.predictions
        if own is None or own.teacher is None:
            return None
        return _predictions(self.sweep / TEACHER_PREDICTIONS_DIR / f"{own.teacher}.safetensors")

    @cached_property
    def deployed(self) -> Records:
        return read_records(sorted((self.folder / FOLDER).glob("*.json")))


def _predictions(path: Path) -> Predictions | None:
    try:
        return load_predictions(path) if path.is_file() else None
    except (OSError, ValueError, KeyError) as error:
        log.warning("%s is passed over: %s", path, error)
        return None


def from_folder(sweep: Path) -> RunCollection:
    """The runs of a sweep's folder. Raises UserError if it holds no sweep."""
    if not (sweep / "sweep.json").is_file():
        raise UserError(f"SWEEP must be a sweep's folder, got {sweep}, which has no sweep.json")
    runs: list[Run] = [  # a folded run has nothing but a row of its own
        FolderRun(row, sweep / str(row["same_as"] or row["run"]), sweep) for row in collect(sweep)
    ]
    note = read_sweep_metadata(sweep)
    if note is None:
        raise UserError(f"SWEEP must be a sweep's folder, got {sweep}: its sweep.json is damaged")
    known = {str(run.row["run"]) for run in runs}
    missing = tuple(number for number in note.get("fingerprints", {}) if number not in known)
    return RunCollection(note["name"], runs, sweep, missing, links(note, runs))


def links(note: Mapping[str, Any], runs: Iterable[Run]) -> dict[str, str]:
    """The pages of runs, by their ids in MLflow, whose address ``note`` has, as in sweep.json."""
    uri, experiment = note.get("tracking_uri"), note.get("experiment_id")
    if not uri or not experiment:
        return {}
    ids = (run.row.get("mlflow_run_id") for run in runs)
    return {run_id: run_page(str(uri), str(experiment), run_id) for run_id in ids if run_id}
