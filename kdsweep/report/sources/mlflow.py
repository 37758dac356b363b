"""The runs of a sweep in MLflow: the same rows as from the folders, to the digit.

A job that was folded into an equal one has no run in MLflow: it is known from the sweep.json among
the artifacts of a sweep that has ended. Everything but the rows is read on access.
"""

import logging
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

from omegaconf import OmegaConf

from kdsweep.common.text import first_line
from kdsweep.config.interpolation import raw
from kdsweep.errors import UserError
from kdsweep.report.sources.collection import Run, RunCollection, links
from kdsweep.tracking import run_dir
from kdsweep.tracking.deployed import FOLDER, PREFIX, Records, read_records
from kdsweep.tracking.find_sweep import MULTIRUN
from kdsweep.tracking.metadata import SWEEP, read_sweep_metadata
from kdsweep.tracking.mlflow.history import history
from kdsweep.tracking.mlflow.run_end import END_TAGS, PRUNED_TAG, SO_FAR_TAGS
from kdsweep.tracking.mlflow.store import FOLDER_TAG, PARENT_TAG, MLflowStore
from kdsweep.tracking.predictions import TEACHER_PREDICTIONS_DIR, Predictions, load_predictions
from kdsweep.tracking.results_table import COLUMNS, ResultRow, settings_from_params

if TYPE_CHECKING:
    from mlflow.entities import Run as Entity

T = TypeVar("T")

log = logging.getLogger(__name__)

ROLE = "kdsweep.role"
REPORTS = MULTIRUN / "reports"  # of runs without a folder of their own here

MEASURED = (  # in the order of `kdsweep compare`
    "val/acc",
    "val/loss",
    "val/agreement",
    "test/acc",
    "test/loss",
    "test/ece",
    "test/agreement",
    "val/acc_best",
    "epochs",
    "seconds",
    "num_params",
    "latency_ms",
)


class ArtifactCache:
    """Reads the artifacts of a sweep's runs; shared predictions of teachers are fetched once."""

    def __init__(self, store: MLflowStore, sweep: str | None) -> None:
        self.store, self.sweep = store, sweep
        self._teachers: dict[str, Predictions | None] = {}

    def read(self, run_id: str, name: str, load: Callable[[Path], T]) -> T | None:
        """The content of a run's file; None if the run has no such file, or it is damaged."""
        folder = name.rpartition("/")[0] or None
        if name not in {item.path for item in self.store.client.list_artifacts(run_id, folder)}:
            return None
        with TemporaryDirectory(prefix="kdsweep-") as target:
            path = Path(self.store.client.download_artifacts(run_id, name, target))
            try:
                return load(path)
            except (OSError, ValueError, KeyError) as error:
                log.warning("%s of run %s is passed over: %s", name, run_id, first_line(error))
                return None

    def records(self, run_id: str) -> Records:
        """The JSON files in `deploy/` of a run."""
        client = self.store.client
        names = [item.path for item in client.list_artifacts(run_id, FOLDER)]
        records = [name for name in names if name.endswith(".json")]
        with TemporaryDirectory(prefix="kdsweep-") as target:
            files = [client.download_artifacts(run_id, name, target) for name in records]
            return read_records(map(Path, files))

    def teacher(self, digest: str) -> Predictions | None:
        """The predictions of a teacher of the sweep."""
        if self.sweep is None:
            return None
        if digest not in self._teachers:
            name = f"{TEACHER_PREDICTIONS_DIR}/{digest}.safetensors"
            self._teachers[digest] = self.read(self.sweep, name, load_predictions)
        return self._teachers[digest]


class MLflowRun(Run):
    """A run in MLflow."""

    def __init__(self, entity: "Entity", row: ResultRow, artifacts: ArtifactCache) -> None:
        super().__init__(row)
        self._entity, self._artifacts = entity, artifacts
        self.run_id = str(entity.info.run_id)

    @cached_property
    def config(self) -> dict[str, Any]:
        return raw(self._artifacts.read(self.run_id, f"config/{run_dir.CONFIG}", OmegaConf.load))

    @cached_property
    def history(self) -> list[run_dir.Row]:
        return history(self._artifacts.store.client, self._entity)

    @cached_property
    def predictions(self) -> Predictions | None:
        return self._artifacts.read(self.run_id, run_dir.PREDICTIONS, load_predictions)

    @cached_property
    def teacher_predictions(self) -> Predictions | None:
        own = self.predictions
        return None if own is None or own.teacher is None else self._artifacts.teacher(own.teacher)

    @cached_property
    def deployed(self) -> Records:
        if not any(name.startswith(PREFIX) for name in self._entity.data.metrics):
            return {}  # without a request for each run of a sweep
        return self._artifacts.records(self.run_id)


def from_mlflow(store: MLflowStore, sweep: str) -> RunCollection:
    """The runs of a sweep or a search, by the id of its run in MLflow; a single run, too.

    Raises UserError if the store has no such run.
    """
    from mlflow.exceptions import MlflowException

    try:
        parent = store.client.get_run(sweep)
    except MlflowException as error:
        raise UserError(
            f"SWEEP must be the id of a run in the store, got {sweep} ({first_line(error)})"
        ) from error
    role = parent.data.tags.get(ROLE)
    if role == "run":
        runs = [parent]
    elif role == "search":  # search > trial > run
        below = store.search(f"tags.`{ROLE}` = 'trial' and tags.`{PARENT_TAG}` = '{sweep}'")
        trials = {str(trial.info.run_id) for trial in below}
        every = store.search(f"tags.`{ROLE}` = 'run'")
        runs = [run for run in every if run.data.tags.get(PARENT_TAG) in trials]
    else:
        runs = store.search(f"tags.`{ROLE}` = 'run' and tags.`{PARENT_TAG}` = '{sweep}'")
    artifacts = ArtifactCache(store, None if role == "run" else sweep)
    return _with_all_jobs(_collection(store, parent, runs), artifacts)


def from_query(store: MLflowStore, query: str) -> list[RunCollection]:
    """The runs that match a filter of MLflow's, those of each sweep together.

    Raises UserError if MLflow does not understand the filter, or no run matches it.
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
    parents = ParentIndex(store.search(f"tags.`{ROLE}` != 'run'"))
    by_sweep: dict[str, list[Entity]] = {}
    for run in matching:
        by_sweep.setdefault(parents.root_of(run), []).append(run)
    return [
        _collection(store, parents.runs.get(sweep, runs[0]), runs)
        for sweep, runs in by_sweep.items()
    ]


class ParentIndex:
    """The sweeps, searches and trials of a store, by id."""

    def __init__(self, runs: "Iterable[Entity]") -> None:
        self.runs = {str(run.info.run_id): run for run in runs}

    def root_of(self, run: "Entity") -> str:
        """The id of the sweep or search that a run belongs to; its own if there is none."""
        root, above = str(run.info.run_id), run.data.tags.get(PARENT_TAG)
        while above is not None:
            root, parent = str(above), self.runs.get(above)
            above = None if parent is None else parent.data.tags.get(PARENT_TAG)
        return root


def single(store: MLflowStore, run: "Entity") -> MLflowRun:
    """A run by itself, whatever sweep it belongs to."""
    parents = ParentIndex(store.search(f"tags.`{ROLE}` != 'run'"))
    sweep = parents.root_of(run)
    artifacts = ArtifactCache(store, sweep if sweep in parents.runs else None)
    return MLflowRun(run, row_of(run, place(run, None)), artifacts)


def _collection(
    store: MLflowStore, parent: "Entity", entities: "Iterable[Entity]"
) -> RunCollection:
    """``parent`` is the run itself where there is no other."""
    sweep, folder = str(parent.info.run_id), parent.data.tags.get(FOLDER_TAG)
    is_alone = parent.data.tags.get(ROLE) == "run"
    artifacts = ArtifactCache(store, None if is_alone else sweep)
    above = None if is_alone else folder
    numbered = [(place(run, above), run) for run in entities]
    numbered.sort(key=lambda pair: run_dir.by_number(pair[0]))
    runs: list[Run] = [MLflowRun(run, row_of(run, name), artifacts) for name, run in numbered]
    here = None if above is None else Path(above)
    kept = here if here is not None and (here / "sweep.json").is_file() else REPORTS / sweep
    address = {"tracking_uri": store.uri, "experiment_id": parent.info.experiment_id}
    # A run's name is cut where it is too long for MLflow.
    name = parent.data.params.get("command", str(parent.info.run_name))
    return RunCollection(name, runs, kept, links=links(address, runs))


def _with_all_jobs(collection: RunCollection, artifacts: ArtifactCache) -> RunCollection:
    """With the jobs of a sweep that have no run in MLflow: folded ones, and missing ones."""
    if artifacts.sweep is None:
        return collection
    note = artifacts.read(artifacts.sweep, SWEEP, lambda path: read_sweep_metadata(path.parent))
    if note is None:
        return collection
    known = {str(run.row["run"]): run for run in collection.runs}
    jobs, first = dict(known), dict[str, str]()
    for number, fingerprint in note["fingerprints"].items():
        owner = known.get(first.setdefault(fingerprint, number))
        if number not in jobs and owner is not None:  # it was folded into its owner
            row = owner.row | {"run": int(number), "same_as": str(owner.row["run"])}
            jobs[number] = owner.with_row(row)
    missing = tuple(number for number in note["fingerprints"] if number not in jobs)
    runs = [jobs[number] for number in sorted(jobs, key=run_dir.by_number)]
    return replace(collection, runs=runs, missing=missing)


def place(run: "Entity", above: str | None) -> str:
    """The name of a run in its sweep's folder: `3`, in a search `3/seed-0`."""
    folder = Path(run.data.tags.get(FOLDER_TAG, ""))
    if above is not None and folder.is_relative_to(above):
        return folder.relative_to(above).as_posix()
    match = re.search(r"\d+(/seed-\d+)?$", folder.as_posix())
    return match.group() if match else str(run.info.run_id)


def row_of(run: "Entity", name: str) -> ResultRow:
    """A run's row, as from its folder, which is called ``name`` in that of the sweep."""
    info, params, tags = run.info, run.data.params, run.data.tags
    status = str(info.status)
    if status == "KILLED" and tags.get(PRUNED_TAG) == "true":
        status = "PRUNED"
    status = "RUNNING" if status == "SCHEDULED" else status
    row: ResultRow = dict.fromkeys(COLUMNS)
    row |= settings_from_params(params)
    row |= {
        "run": int(name) if name.isdigit() else name,
        "status": status,
        "name": info.run_name,
        "mlflow_run_id": info.run_id,
        "role": tags.get(ROLE),
        "cell": tags.get("kdsweep.cell"),
        "fingerprint": tags.get("kdsweep.fingerprint"),
        "seed": int(params["seed"]) if "seed" in params else None,
    }
    if status == "RUNNING":
        return row
    # A run that can be resumed has some of its metrics as tags.
    so_far = {key: float(tags[tag]) for key, tag in SO_FAR_TAGS.items() if tag in tags}
    metrics = {**run.data.metrics, **so_far}
    finite = {key: value if math.isfinite(value) else None for key, value in metrics.items()}
    row |= {key: finite[key] for key in MEASURED if key in finite}
    if row["epochs"] is not None:
        row["epochs"] = int(row["epochs"])
    row["weights_sha256"] = tags.get(END_TAGS["weights_sha256"])
    if status != "FINISHED":
        row["reason"] = tags.get(END_TAGS["reason"])
    return row
