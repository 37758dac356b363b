"""MLflow, through a client and explicit run ids only: no active run, no global tracking address.

Importing mlflow takes a second, so it happens when a store is opened. After `MLflowStore.open`
any method may raise; callers that MLflow must not stop go through an `UploadQueue`.
"""

import logging
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from kdsweep.common.garbage import kept_for_good, without_collection
from kdsweep.common.passwords import redact_password, register_address
from kdsweep.common.text import shorten
from kdsweep.tracking.mlflow import backend, entities, experiment
from kdsweep.tracking.mlflow.connections import bounded
from kdsweep.tracking.mlflow.one_commit import one_commit
from kdsweep.tracking.mlflow.provenance import provenance_tags
from kdsweep.tracking.mlflow.run_state import Logged, Point, RunState, missing_rows
from kdsweep.tracking.run_dir import Row

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run
    from mlflow.store.artifact.artifact_repo import ArtifactRepository

Status = Literal["FINISHED", "FAILED", "KILLED"]

FOLDER_TAG = "kdsweep.folder"  # path of the folder of a run, a sweep or a trial
PARENT_TAG = "mlflow.parentRunId"
ARTIFACTS = "mlartifacts"  # the default of tracking.artifacts
PAGE = 1000  # runs of one request

logger = logging.getLogger(__name__)


class MLflowStore:
    """One experiment of one MLflow store."""

    def __init__(self, client: "MlflowClient", *, uri: str, experiment_id: str) -> None:
        self.client = client
        self.uri = uri  # absolute, without its password
        self.experiment_id = experiment_id
        # Of the runs that were created here and have not ended: the folder that their artifacts go
        # to, or what uploads them, which MLflow's client would read from the store again.
        self._artifacts: dict[str, Any] = {}  # of `ArtifactRepository`, which is not typed

    @classmethod
    def open(cls, uri: str, name: str, artifacts: str = ARTIFACTS, cwd: Path | None = None) -> Self:
        """The store at ``uri``, created with its experiment ``name`` if they are not there yet.

        Relative paths of ``uri`` and ``artifacts`` (where a *new* experiment keeps its files; a
        tracking server decides that itself) count from ``cwd``, the current folder by default.
        Raises ValueError, naming key, value and remedy, for a store that cannot be used.
        """
        cwd = cwd or Path.cwd()
        address = backend.resolve(uri, cwd)
        experiment.check_name(name)
        is_server = backend.scheme_of(address) in backend.SERVERS
        location = None if is_server else experiment.artifact_location(artifacts, cwd)
        with kept_for_good(), backend.ensure_store(uri, address):  # imports mlflow
            client = backend.import_mlflow().MlflowClient(tracking_uri=bounded(address))
            try:
                opened = experiment.find_or_create(client, address, name, location)
                opened = experiment.follow_moved_files(client, opened, address, location)
            except ValueError:
                raise
            except Exception as error:
                raise backend.refusal(uri, backend.reason_of(error, uri)) from error
        if opened.lifecycle_stage == "deleted":
            raise ValueError(
                f"tracking.experiment must not be a deleted experiment, got {name}; restore it"
                f" with `mlflow experiments restore -x {opened.experiment_id}` or name another one"
            )
        # With the default, files in another place are right where a folder uses the database of
        # another one, and wrong in a copied folder, which has a database of its own.
        is_sqlite = backend.scheme_of(address) == "sqlite"
        is_below = is_sqlite and backend.sqlite_file(address).is_relative_to(cwd)
        is_meant = artifacts != ARTIFACTS or is_below
        if location is not None and is_meant and opened.artifact_location != location:
            logger.warning(
                "experiment %s keeps its files in %s, where it was created, not in"
                " tracking.artifacts=%s; tracking.experiment=NAME makes one that keeps them there",
                name,
                opened.artifact_location,
                artifacts,
            )
        return cls(client, uri=register_address(address), experiment_id=opened.experiment_id)

    @classmethod
    def existing(cls, uri: str, name: str, cwd: Path | None = None) -> Self:
        """The store at ``uri`` for reading: neither it nor its experiment is created.

        Raises ValueError, naming option, value and what there is, if one of them is not there.
        """
        cwd = cwd or Path.cwd()
        with _reading(uri, cwd) as client:
            opened = client.get_experiment_by_name(name)
            if opened is None:
                names = ", ".join(sorted(e.name for e in client.search_experiments()))
                raise ValueError(f"--experiment must be one of {names}, got {name}")
            address = backend.resolve(uri, cwd)
            opened = experiment.follow_moved_files(client, opened, address, None)
        return cls(client, uri=register_address(address), experiment_id=opened.experiment_id)

    @staticmethod
    def refuse_absent(uri: str, cwd: Path | None = None) -> None:
        """Raises ValueError, naming the value, if there is no store at ``uri``."""
        with _reading(uri, cwd or Path.cwd()) as client:
            client.search_experiments(max_results=1)

    def one_commit(self) -> AbstractContextManager[None]:
        """Commit once what is written inside, all or nothing: `one_commit.one_commit`."""
        return one_commit(self.client)

    def search(self, filter_string: str = "") -> "list[Run]":
        """All runs of the experiment that a filter of MLflow's matches, the oldest first."""
        runs: list[Run] = []
        token: str | None = None
        while True:
            with without_collection():  # a thousand runs are a hundred thousand objects
                page = self.client.search_runs(
                    [self.experiment_id],
                    filter_string,
                    max_results=PAGE,
                    order_by=["attributes.start_time ASC"],
                    page_token=token,
                )
            runs += page
            token = page.token
            if not token:
                return runs

    def create_run(
        self,
        *,
        name: str,
        parent_id: str | None,
        tags: Mapping[str, str],
        params: Mapping[str, object],
        start_time_ms: int | None = None,
    ) -> str:
        """Create a run with its params and return its id."""
        run = self.new_run(name=name, parent_id=parent_id, tags=tags, start_time_ms=start_time_ms)
        self.log_params(run.run_id, params)
        return run.run_id

    def new_run(
        self,
        *,
        name: str,
        parent_id: str | None,
        tags: Mapping[str, str],
        start_time_ms: int | None = None,
    ) -> RunState:
        """Create a run that has nothing but tags, in one request."""
        own = {PARENT_TAG: parent_id} if parent_id else {}
        all_tags = entities.tag_values({**provenance_tags(), **tags, **own})
        run = self.client.create_run(
            self.experiment_id,
            start_time=start_time_ms,
            tags=all_tags,
            run_name=shorten(name, entities.NAME_LENGTH),
        )
        run_id = str(run.info.run_id)
        self._artifacts[run_id] = _artifacts_of(self.client, run)
        return RunState(run_id, tags=all_tags, is_new=True)

    def read_run(self, run_id: str) -> RunState | None:
        """What this store has of a run, without its points; None if it is not there, or deleted."""
        from mlflow.exceptions import MlflowException

        try:
            run = self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return RunState.of(run) if run.info.lifecycle_stage == "active" else None

    def has_run(self, run_id: str) -> bool:
        """Whether the run is in this store and not deleted."""
        return self.read_run(run_id) is not None

    def find_run(self, tags: Mapping[str, str]) -> str | None:
        """The run with these tags, None if there is none."""
        in_filter = {key: value for key, value in tags.items() if can_be_quoted(value)}
        filter_string = " and ".join(f"tags.`{k}` = {quoted(v)}" for k, v in in_filter.items())
        runs: Sequence[Run]
        if len(in_filter) == len(tags):
            runs = self.client.search_runs([self.experiment_id], filter_string, max_results=1)
        else:  # MLflow has no filter for the rest
            runs = [r for r in self.search(filter_string) if tags.items() <= r.data.tags.items()]
        return str(runs[0].info.run_id) if runs else None

    def reopen(self, run_id: str) -> None:
        """Mark a run as running again."""
        self.client.update_run(run_id, status="RUNNING")

    def finish(self, run_id: str, status: Status, end_time_ms: int | None = None) -> None:
        """Set a run's end state, and its end to now unless given."""
        self.client.set_terminated(run_id, status=status, end_time=end_time_ms)
        self._artifacts.pop(run_id, None)

    def log(
        self,
        run_id: str,
        *,
        params: Mapping[str, object] | None = None,
        rows: Iterable[Row] = (),
        tags: Mapping[str, str] | None = None,
        of_model: "Sequence[Metric]" = (),
    ) -> None:
        """Log everything in as few requests as MLflow's limits allow, none if there is nothing.

        ``of_model`` are metrics of the run's model, which are the run's as well; the rows may have
        the same, of which MLflow must get one.
        """
        metrics = [*entities.metric_entities(rows), *of_model]
        self.client.log_batch(
            run_id,
            metrics=list({(m.key, m.step, m.timestamp): m for m in metrics}.values()),
            params=entities.param_entities(params or {}),
            tags=entities.tag_entities(tags or {}),
        )

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set or overwrite tags."""
        self.log(run_id, tags=tags)

    def drop_tags(self, run_id: str, keys: Iterable[str]) -> None:
        """Delete those of these tags that the run has."""
        for key in self.client.get_run(run_id).data.tags.keys() & set(keys):
            self.client.delete_tag(run_id, key)

    def log_params(self, run_id: str, params: Mapping[str, object]) -> None:
        """Log the parameters of a run; logging the same again changes nothing."""
        self.log(run_id, params=params)

    def points(self, run_id: str, keys: Iterable[str]) -> dict[Point, Logged]:
        """What the run has at every (metric, step) of these metrics."""
        history = self.client.get_metric_history
        return {
            (key, one.step): Logged(one.timestamp, one.value)
            for key in keys
            for one in history(run_id, key)
        }

    def logged(self, run_id: str) -> dict[Point, Logged]:
        """What the run has at every (metric, step)."""
        return self.points(run_id, self.client.get_run(run_id).data.metrics)

    def log_missing(self, run_id: str, rows: Sequence[Row]) -> int:
        """Log what the run does not have yet; returns how many rows had something to add.

        MLflow would show a (metric, step) twice that is logged twice.
        """
        missing = missing_rows(rows, self.logged(run_id))
        self.log(run_id, rows=missing)
        return len(missing)

    def log_artifact(self, run_id: str, path: Path, folder: str | None = None) -> None:
        """Copy a file to the run's artifacts, into ``folder`` among them."""
        known = self._artifacts.get(run_id)
        if isinstance(known, Path):
            _copy(path, known / (folder or ""))
        elif known is not None:
            known.log_artifact(str(path), folder)
        else:
            self.client.log_artifact(run_id, str(path), folder)

    def log_dataset(self, run_id: str, dataset: Mapping[str, Any]) -> None:
        """Log which data the run used, and for what: the arguments of `entities.dataset_input`."""
        inputs = [entities.dataset_input(**dataset)]
        try:
            self.client.log_inputs(run_id, inputs)
        except Exception:
            # MLflow adds a data set that it has not found, so that one of two writers that log the
            # same at once fails; the next time it finds it.
            self.client.log_inputs(run_id, inputs)


def _artifacts_of(client: "MlflowClient", run: "Run") -> "Path | ArtifactRepository":
    """Where a run's artifacts go: a folder, or what MLflow's client uploads them by."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    uri = run.info.artifact_uri
    return experiment.local_folder(uri) or get_artifact_repository(
        uri, tracking_uri=client.tracking_uri
    )


def _copy(path: Path, folder: Path) -> None:
    """Copy a file into a folder of artifacts; readers never see half of it.

    A file that is there is replaced, not written to: it may be a second name of one of a model's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{path.name}.part"
    shutil.copyfile(path, draft)
    draft.replace(folder / path.name)


@contextmanager
def _reading(uri: str, cwd: Path) -> "Iterator[MlflowClient]":
    """A client of a store that must be there already. Raises ValueError if it is not."""
    address = backend.resolve(uri, cwd)
    if not backend.is_there(address):
        raise ValueError(
            f"--uri must be an MLflow store, got {redact_password(uri)}, which is not there"
        )
    with backend.ensure_store(uri, address):
        mlflow = backend.import_mlflow()
        try:
            yield mlflow.MlflowClient(tracking_uri=bounded(address))
        except mlflow.MlflowException as error:
            why = backend.reason_of(error, uri)
            raise ValueError(
                f"--uri must be an MLflow store that works, got {redact_password(uri)}: {why}"
            ) from error


def can_be_quoted(value: str) -> bool:
    """Whether a value can be written in MLflow's filters, which know no escapes."""
    return not ("'" in value and '"' in value)


def quoted(value: str) -> str:
    """A value in the quotes of MLflow's filters. Raises ValueError unless it `can_be_quoted`."""
    if not can_be_quoted(value):
        raise ValueError(f"a tag to look for must not have both kinds of quotes, got {value}")
    return f'"{value}"' if "'" in value else f"'{value}'"


def now_ms() -> int:
    """Unix milliseconds, the clock of MLflow."""
    return time.time_ns() // 1_000_000
