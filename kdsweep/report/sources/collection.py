"""What a report is made of: the runs of one sweep or several, read from folders or from MLflow.

Everything but a run's row is read when it is asked for: a table of 1,000 runs opens no other file.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from omegaconf import OmegaConf

from kdsweep.errors import UserError
from kdsweep.report.analysis.aggregate import Row
from kdsweep.report.sources.images import Load, load_dataset
from kdsweep.tracking import run_dir
from kdsweep.tracking.metadata import read_sweep_metadata
from kdsweep.tracking.predictions import TEACHER_PREDICTIONS_DIR, Predictions, load_predictions
from kdsweep.tracking.results_table import collect

log = logging.getLogger(__name__)

MLFLOW_UI = "http://127.0.0.1:5000"  # where `mlflow ui` serves a store that is no server itself


class Run(Protocol):
    """One run, wherever it is kept."""

    @property
    def row(self) -> Row:
        """What results.csv says of it: `kdsweep.tracking.results_table.COLUMNS`."""

    @property
    def config(self) -> dict[str, Any]:
        """The resolved config that it was trained from."""

    @property
    def history(self) -> list[run_dir.Row]:
        """Its metrics, epoch by epoch."""

    @property
    def answers(self) -> Predictions | None:
        """Its logits; None where they were not kept (`tracking.answers`), or it did not finish."""

    @property
    def teacher_answers(self) -> Predictions | None:
        """Its teacher's logits; None where it had none or they were not kept."""


@dataclass(frozen=True)
class Evidence:
    """The runs that a report tells of.

    Args:
        name: of the sweep, as on its command line; of several, joined by " + ".
        runs: in the order of the sweep; unfinished and folded ones, too.
        home: the folder that the report is written to.
        missing: names of the runs that were asked for and have left nothing, `12`.
        links: a run's id in MLflow -> its page there.
        load: gives the data set of a run's resolved config, for a look at its images.
    """

    name: str
    runs: list[Run]
    home: Path
    missing: tuple[str, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)
    load: Load = load_dataset

    @property
    def rows(self) -> list[Row]:
        return [run.row for run in self.runs]


class FolderRun:
    """A run in its folder."""

    def __init__(self, row: Row, folder: Path, sweep: Path) -> None:
        self.row, self.folder, self.sweep = row, folder, sweep

    @cached_property
    def config(self) -> dict[str, Any]:
        found = OmegaConf.to_container(OmegaConf.load(self.folder / run_dir.CONFIG))
        assert isinstance(found, dict)
        return {str(key): value for key, value in found.items()}

    @cached_property
    def history(self) -> list[run_dir.Row]:
        return run_dir.read_rows(self.folder)

    @cached_property
    def answers(self) -> Predictions | None:
        return _answers(self.folder / run_dir.PREDICTIONS)

    @cached_property
    def teacher_answers(self) -> Predictions | None:
        own = self.answers
        if own is None or own.teacher is None:
            return None
        return _answers(self.sweep / TEACHER_PREDICTIONS_DIR / f"{own.teacher}.safetensors")


def _answers(path: Path) -> Predictions | None:
    if not path.is_file():
        return None
    try:
        return load_predictions(path)
    except (OSError, ValueError, KeyError) as error:
        log.warning("%s is passed over: %s", path, error)
        return None


def from_folder(sweep: Path) -> Evidence:
    """The runs of a sweep's folder.

    Raises:
        UserError: if the folder holds no sweep.
    """
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
    return Evidence(note["name"], runs, sweep, missing, links(note, runs))


def links(note: Mapping[str, Any], runs: Iterable[Run]) -> dict[str, str]:
    """The pages of a sweep's runs, by their ids in MLflow.

    Args:
        note: with the `tracking_uri` and the `experiment_id` that sweep.json has.
    """
    uri, experiment = note.get("tracking_uri"), note.get("experiment_id")
    if not uri or not experiment:
        return {}
    ids = (run.row.get("mlflow_run_id") for run in runs)
    return {run_id: run_page(str(uri), str(experiment), run_id) for run_id in ids if run_id}


def run_page(uri: str, experiment: str, run_id: str) -> str:
    """Where a run of a store is to be seen."""
    server = uri.rstrip("/") if uri.startswith(("http://", "https://")) else MLFLOW_UI
    return f"{server}/#/experiments/{experiment}/runs/{run_id}"
