"""The runs of a sweep as MLflow has them: the same rows as from the folders, to the digit.

A job that was folded into an equal one is no run of MLflow's: it is known from the sweep.json that
a sweep's run keeps when it has ended. Everything but the rows is read when it is asked for.
"""

import logging
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

from omegaconf import OmegaConf

from kdsweep.common.text import first_line
from kdsweep.errors import UserError
from kdsweep.report.analysis.aggregate import Row
from kdsweep.report.sources.collection import Evidence, Run, links
from kdsweep.tracking import run_dir
from kdsweep.tracking.metadata import SWEEP, read_sweep_metadata
from kdsweep.tracking.mlflow.run_sync import END_METRICS, END_TAGS, PRUNED_TAG, SO_FAR_TAGS
from kdsweep.tracking.mlflow.store import FOLDER_TAG, MLflowStore
from kdsweep.tracking.predictions import TEACHER_PREDICTIONS_DIR, Predictions, load_predictions
from kdsweep.tracking.results_table import COLUMNS, settings_from_params

if TYPE_CHECKING:
    from mlflow.entities import Run as Entity

Found = TypeVar("Found")

log = logging.getLogger(__name__)

PARENT = "mlflow.parentRunId"
ROLE = "kdsweep.role"
REPORTS = Path("multirun") / "reports"  # of what has no folder of its own here

MEASURED = (
    "val/acc",
    "val/loss",
    "val/acc_best",
    "val/agreement",
    "test/acc",
    "test/loss",
    "test/ece",
    "test/agreement",
    "seconds",
    "latency_ms",
)


class Archive:
    """The artifacts of a sweep's runs; what several of them share is fetched once."""

    def __init__(self, store: MLflowStore, sweep: str | None) -> None:
        self.store, self.sweep = store, sweep
        self._of_teachers: dict[str, Predictions | None] = {}

    def read(self, run_id: str, name: str, load: Callable[[Path], Found]) -> Found | None:
        """What a run's file says; None if the run has no such file."""
        folder = name.rpartition("/")[0] or None
        if name not in {item.path for item in self.store.client.list_artifacts(run_id, folder)}:
            return None
        with TemporaryDirectory(prefix="kdsweep-") as place:
            path = Path(self.store.client.download_artifacts(run_id, name, place))
            try:
                return load(path)
            except (OSError, ValueError, KeyError) as error:
                log.warning("%s of run %s is passed over: %s", name, run_id, first_line(error))
                return None

    def teacher(self, digest: str) -> Predictions | None:
        """The answers of a teacher of the sweep."""
        if self.sweep is None:
            return None
        if digest not in self._of_teachers:
            name = f"{TEACHER_PREDICTIONS_DIR}/{digest}.safetensors"
            self._of_teachers[digest] = self.read(self.sweep, name, load_predictions)
        return self._of_teachers[digest]


class MLflowRun:
    """A run in MLflow."""

    def __init__(self, found: "Entity", row: Row, archive: Archive) -> None:
        self.row, self._found, self._archive = row, found, archive
        self.run_id = str(found.info.run_id)
        self._metrics = [key for key in found.data.metrics if key not in END_METRICS]

    def folded(self, number: int) -> "MLflowRun":
        """The job of this number, which was the same run."""
        row = self.row | {"run": number, "same_as": str(self.row["run"])}
        return MLflowRun(self._found, row, self._archive)

    @cached_property
    def config(self) -> dict[str, Any]:
        found = self._archive.read(self.run_id, f"config/{run_dir.CONFIG}", OmegaConf.load)
        if found is None:
            return {}
        values = OmegaConf.to_container(found)
        assert isinstance(values, dict)
        return {str(key): value for key, value in values.items()}

    @cached_property
    def history(self) -> list[run_dir.Row]:
        client = self._archive.store.client
        rows: dict[tuple[int, int], dict[str, float]] = {}
        for key in self._metrics:
            for entry in client.get_metric_history(self.run_id, key):
                rows.setdefault((entry.step, entry.timestamp), {})[key] = entry.value
        return [run_dir.make_row(step, time, rows[step, time]) for step, time in sorted(rows)]

    @cached_property
    def answers(self) -> Predictions | None:
        return self._archive.read(self.run_id, run_dir.PREDICTIONS, load_predictions)

    @cached_property
    def teacher_answers(self) -> Predictions | None:
        own = self.answers
        return None if own is None or own.teacher is None else self._archive.teacher(own.teacher)


def from_mlflow(store: MLflowStore, sweep: str) -> Evidence:
    """The runs of a sweep or a search, by the id of its run in MLflow; a single run, too.

    Raises:
        UserError: if the store has no such run.
    """
    parent = get_run(store, sweep)
    role = parent.data.tags.get(ROLE)
    if role == "run":
        found = [parent]
    elif role == "search":  # search > trial > run
        below = store.search(f"tags.`{ROLE}` = 'trial' and tags.`{PARENT}` = '{sweep}'")
        trials = {str(trial.info.run_id) for trial in below}
        runs = store.search(f"tags.`{ROLE}` = 'run'")
        found = [run for run in runs if run.data.tags.get(PARENT) in trials]
    else:
        found = store.search(f"tags.`{ROLE}` = 'run' and tags.`{PARENT}` = '{sweep}'")
    return _whole(_evidence(store, parent, found), Archive(store, None if role == "run" else sweep))


def from_query(store: MLflowStore, query: str) -> list[Evidence]:
    """The runs that a filter of MLflow's matches, those of each sweep together.

    Raises:
        UserError: if MLflow does not understand the filter, or no run matches it.
    """
    from mlflow.exceptions import MlflowException

    try:
        matching = store.search(f"tags.`{ROLE}` = 'run' and {query}")
    except MlflowException as error:
        raise UserError(
            "SWEEP must be a filter that MLflow understands, like \"params.loss = 'kl'\", got"
            f" {query} ({first_line(error)})"
        ) from error
    if not matching:
        raise UserError(f"SWEEP must match some run of the experiment, got {query}")
    roots = Roots(store.search(f"tags.`{ROLE}` != 'run'"))
    by_sweep: dict[str, list[Entity]] = {}
    for run in matching:
        by_sweep.setdefault(roots.of(run), []).append(run)
    return [
        _evidence(store, roots.runs.get(sweep, runs[0]), runs) for sweep, runs in by_sweep.items()
    ]


def get_run(store: MLflowStore, run_id: str) -> "Entity":
    """A run by its id. Raises UserError if the store has none."""
    from mlflow.exceptions import MlflowException

    try:
        return store.client.get_run(run_id)
    except MlflowException as error:
        raise UserError(
            f"SWEEP must be the id of a run in the store, got {run_id} ({first_line(error)})"
        ) from error


class Roots:
    """Finds the sweep or search that a run belongs to."""

    def __init__(self, runs: "Iterable[Entity]") -> None:
        self.runs = {str(run.info.run_id): run for run in runs}

    def of(self, run: "Entity") -> str:
        """The id of the highest run above a run; its own if there is none."""
        above = run.data.tags.get(PARENT)
        return str(run.info.run_id) if above is None else self._highest(above)

    def _highest(self, run_id: str) -> str:
        run = self.runs.get(run_id)
        above = run.data.tags.get(PARENT) if run is not None else None
        return run_id if above is None else self._highest(above)


def single(store: MLflowStore, run: "Entity") -> MLflowRun:
    """A run by itself, whatever sweep it belongs to."""
    roots = Roots(store.search(f"tags.`{ROLE}` != 'run'"))
    sweep = roots.of(run)
    archive = Archive(store, sweep if sweep in roots.runs else None)
    return MLflowRun(run, row_of(run, place(run, None)), archive)


def _evidence(store: MLflowStore, parent: "Entity", found: "Iterable[Entity]") -> Evidence:
    """``parent`` is the run itself where there is no other."""
    sweep, folder = str(parent.info.run_id), parent.data.tags.get(FOLDER_TAG)
    is_alone = parent.data.tags.get(ROLE) == "run"
    archive = Archive(store, None if is_alone else sweep)
    above = None if is_alone else folder
    placed = sorted(
        ((place(run, above), run) for run in found), key=lambda pair: run_dir.by_number(pair[0])
    )
    runs: list[Run] = [MLflowRun(run, row_of(run, run_place), archive) for run_place, run in placed]
    here = None if above is None else Path(above)
    home = here if here is not None and (here / "sweep.json").is_file() else REPORTS / sweep
    address = {"tracking_uri": store.uri, "experiment_id": parent.info.experiment_id}
    # A run's name is cut where it is too long for MLflow.
    name = parent.data.params.get("command", str(parent.info.run_name))
    return Evidence(name, runs, home, links=links(address, runs))


def _note_in(path: Path) -> dict[str, Any] | None:
    return read_sweep_metadata(path.parent)


def _whole(part: Evidence, archive: Archive) -> Evidence:
    """With the jobs of a sweep that are no run of MLflow's: folded ones, and missing ones."""
    if archive.sweep is None or (note := archive.read(archive.sweep, SWEEP, _note_in)) is None:
        return part
    jobs: Mapping[str, str] = note["fingerprints"]
    by_number = {str(run.row["run"]): run for run in part.runs}
    first: dict[str, str] = {}
    found: dict[str, Run] = dict(by_number)
    for number, mark in jobs.items():
        owner = by_number.get(first.setdefault(mark, number))
        if number not in found and isinstance(owner, MLflowRun):
            found[number] = owner.folded(int(number))
    missing = tuple(number for number in jobs if number not in found)
    runs = [found[number] for number in sorted(found, key=run_dir.by_number)]
    return replace(part, runs=runs, missing=missing)


def place(run: "Entity", above: str | None) -> str:
    """What a run is called in its sweep's folder: `3`, in a search `3/seed-0`."""
    folder = Path(run.data.tags.get(FOLDER_TAG, ""))
    if above is not None and folder.is_relative_to(above):
        return folder.relative_to(above).as_posix()
    found = re.search(r"\d+(/seed-\d+)?$", folder.as_posix())
    return found.group() if found else str(run.info.run_id)


def row_of(run: "Entity", run_place: str) -> Row:
    """A run's row, with what result.json in its folder says."""
    info, data = run.info, run.data
    status = _status(run)
    row: Row = dict.fromkeys(COLUMNS)
    row |= settings_from_params(data.params)
    row |= {
        "run": int(run_place) if run_place.isdigit() else run_place,
        "status": status,
        "name": info.run_name,
        "mlflow_run_id": info.run_id,
        "role": data.tags.get(ROLE),
        "cell": data.tags.get("kdsweep.cell"),
        "fingerprint": data.tags.get("kdsweep.fingerprint"),
        "seed": int(data.params["seed"]) if "seed" in data.params else None,
    }
    return row if status == "RUNNING" else row | _outcome(status, data.metrics, data.tags)


def _outcome(status: str, metrics: Mapping[str, float], tags: Mapping[str, str]) -> Row:
    """What is known of a run that has ended."""
    # A run that can be resumed has some of them as tags.
    so_far = {key: float(tags[tag]) for key, tag in SO_FAR_TAGS.items() if tag in tags}
    metrics = {**metrics, **so_far}
    measured = {key: _finite(metrics[key]) for key in MEASURED if key in metrics}
    epochs = metrics.get("epochs")
    told = {} if status == "FINISHED" else {"reason": tags.get(END_TAGS["reason"])}
    return {
        **measured,
        **told,
        "epochs": None if epochs is None else int(epochs),
        "weights_sha256": tags.get(END_TAGS["weights_sha256"]),
    }


def _status(run: "Entity") -> str:
    status = str(run.info.status)
    if status == "KILLED" and run.data.tags.get(PRUNED_TAG) == "true":
        return "PRUNED"
    return "RUNNING" if status == "SCHEDULED" else status


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
