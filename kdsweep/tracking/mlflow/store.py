"""MLflow, through a client and explicit run ids only: no active run, no global tracking address.

Importing mlflow takes a second, so it happens when a store is opened. After `MLflowStore.open`
any method may raise; whoever must not be stopped by MLflow calls it through a `Shipper`.
"""

import functools
import gc
import getpass
import json
import logging
import math
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, TypeVar

from kdsweep.common.passwords import MASK, redact_password, register_address
from kdsweep.tracking.mlflow import backend, moved
from kdsweep.tracking.mlflow.connections import bounded
from kdsweep.tracking.run_dir import Row

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Metric, Run

Status = Literal["FINISHED", "FAILED", "KILLED"]

FOLDER_TAG = "kdsweep.folder"  # where the folder of a run, a sweep or a trial is

# What the columns of MLflow's tables hold. PostgreSQL and MySQL refuse more, sqlite does not.
NAME_LENGTH = 250  # of a run, and of the key of a tag, a param or a metric
EXPERIMENT_LENGTH = 256
ARTIFACTS_LENGTH = 200 - len(f"/{'0' * 32}/artifacts")  # the column holds a run's own folder
DATASET_LENGTH = 500
DIGEST_LENGTH = 36
PARAM_LENGTH = 6000  # mlflow cuts longer ones itself, with a warning
TAG_LENGTH = 8000
BATCH_METRICS = 1000
BATCH_PARAMS = 100
ARTIFACTS = "mlartifacts"  # the default of tracking.artifacts
PAGE = 1000  # runs asked for at a time

logger = logging.getLogger(__name__)
Item = TypeVar("Item")


class MLflowStore:
    """One experiment of one MLflow store."""

    def __init__(self, client: "MlflowClient", *, uri: str, experiment_id: str) -> None:
        self.client = client
        self.uri = uri  # absolute, without its password
        self.experiment_id = experiment_id

    @classmethod
    def open(
        cls, uri: str, experiment: str, artifacts: str = ARTIFACTS, cwd: Path | None = None
    ) -> Self:
        """The store at ``uri``, created with its experiment if they are not there yet.

        Relative paths of ``uri`` and ``artifacts`` (where a *new* experiment keeps its files; a
        tracking server decides that itself) count from ``cwd``, the current folder by default.
        Raises ValueError, naming key, value and cure, for a store that cannot be used.
        """
        cwd = cwd or Path.cwd()
        address = backend.resolve(uri, cwd)
        if not experiment.strip():
            raise ValueError("tracking.experiment must be a name, got an empty one")
        if len(experiment) > EXPERIMENT_LENGTH:
            raise ValueError(
                f"tracking.experiment must be at most {EXPERIMENT_LENGTH} characters,"
                f" got {experiment[:20]}… of {len(experiment)}"
            )
        is_server = backend.scheme_of(address) in backend.SERVERS
        location = None if is_server else _artifact_location(artifacts, cwd)
        with backend.ready(uri, address):
            client = backend.import_mlflow().MlflowClient(tracking_uri=bounded(address))
            try:
                found = _find_or_create(client, address, experiment, location)
                found = _followed(client, found, address, location)
            except ValueError:
                raise
            except Exception as error:
                raise backend.refusal(uri, backend.first_line(error)) from error
        if found.lifecycle_stage == "deleted":
            raise ValueError(
                f"tracking.experiment must not be a deleted experiment, got {experiment}; restore "
                f"it with `mlflow experiments restore -x {found.experiment_id}` or name another one"
            )
        # With the default, files in another place are right where a folder uses the database of
        # another one, and wrong in a copied folder, which has a database of its own.
        is_meant = artifacts != ARTIFACTS or _is_below(address, cwd)
        if location is not None and is_meant and found.artifact_location != location:
            logger.warning(
                "experiment %s keeps its files in %s, where it was created, not in"
                " tracking.artifacts=%s; tracking.experiment=NAME makes one that keeps them there",
                experiment,
                found.artifact_location,
                artifacts,
            )
        return cls(client, uri=register_address(address), experiment_id=found.experiment_id)

    @classmethod
    def existing(cls, uri: str, experiment: str, cwd: Path | None = None) -> Self:
        """The store at ``uri`` for reading: neither it nor its experiment is created.

        Raises ValueError, naming option, value and what there is, if one of them is not there.
        """
        cwd = cwd or Path.cwd()
        with _reading(uri, cwd) as client:
            found = client.get_experiment_by_name(experiment)
            if found is None:
                names = ", ".join(sorted(e.name for e in client.search_experiments()))
                raise ValueError(f"--experiment must be one of {names}, got {experiment}")
            address = backend.resolve(uri, cwd)
            found = _followed(client, found, address, None)
        return cls(client, uri=register_address(address), experiment_id=found.experiment_id)

    @staticmethod
    def refuse_absent(uri: str, cwd: Path | None = None) -> None:
        """Raises ValueError, naming the value, if there is no store at ``uri``."""
        with _reading(uri, cwd or Path.cwd()) as client:
            client.search_experiments(max_results=1)

    def search(self, wanted: str = "") -> "list[Run]":
        """All runs of the experiment that a filter of MLflow's matches, the oldest first."""
        found: list[Run] = []
        token: str | None = None
        while True:
            with _without_collections():
                page = self.client.search_runs(
                    [self.experiment_id],
                    wanted,
                    max_results=PAGE,
                    order_by=["attributes.start_time ASC"],
                    page_token=token,
                )
            found += page
            token = page.token
            if not token:
                return found

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
        own = {"mlflow.parentRunId": parent_id} if parent_id else {}
        run = self.client.create_run(
            self.experiment_id,
            start_time=start_time_ms,
            tags=_cut_tags({**_origin(), **tags, **own}),
            run_name=_cut(name, NAME_LENGTH),
        )
        run_id = str(run.info.run_id)
        self.log_params(run_id, params)
        return run_id

    def has_run(self, run_id: str) -> bool:
        """Whether the run is in this store and not deleted."""
        from mlflow.exceptions import MlflowException

        try:
            run = self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise
        return str(run.info.lifecycle_stage) == "active"

    def is_running(self, run_id: str) -> bool:
        """Whether a run has not been closed."""
        return str(self.client.get_run(run_id).info.status) == "RUNNING"

    def find_run(self, tags: Mapping[str, str]) -> str | None:
        """The run with these tags, None if there is none."""
        in_filter = {key: value for key, value in tags.items() if can_be_quoted(value)}
        wanted = " and ".join(f"tags.`{key}` = {quoted(value)}" for key, value in in_filter.items())
        if len(in_filter) == len(tags):
            found: list[Run] = self.client.search_runs([self.experiment_id], wanted, max_results=1)
        else:  # of the rest MLflow cannot be asked
            found = [run for run in self.search(wanted) if tags.items() <= run.data.tags.items()]
        return str(found[0].info.run_id) if found else None

    def reopen(self, run_id: str) -> None:
        """Mark a run as running again."""
        self.client.update_run(run_id, status="RUNNING")

    def finish(self, run_id: str, status: Status, end_time_ms: int | None = None) -> None:
        """Set a run's end state, and its end to now unless given."""
        self.client.set_terminated(run_id, status=status, end_time=end_time_ms)

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set or overwrite tags."""
        from mlflow.entities import RunTag

        entities = [RunTag(key, value) for key, value in _cut_tags(tags).items()]
        for batch in _batches(entities, BATCH_PARAMS):
            self.client.log_batch(run_id, tags=batch)

    def drop_tags(self, run_id: str, keys: Iterable[str]) -> None:
        """Take away those of these tags that the run has."""
        for key in self.client.get_run(run_id).data.tags.keys() & set(keys):
            self.client.delete_tag(run_id, key)

    def log_metrics(
        self, run_id: str, step: int, time_ms: int, metrics: Mapping[str, float | None]
    ) -> None:
        """Log one step's metrics in one batch; a value that is not finite (or None) as NaN."""
        self.client.log_batch(run_id, metrics=_entities(metrics, step, time_ms))

    def log_rows(self, run_id: str, rows: Sequence[Row]) -> None:
        """Log rows of metrics in as few batches as possible."""
        entities = [e for row in rows for e in _entities(row["metrics"], row["epoch"], row["time"])]
        for batch in _batches(entities, BATCH_METRICS):
            self.client.log_batch(run_id, metrics=batch)

    def log_changed(
        self, run_id: str, step: int, time_ms: int, metrics: Mapping[str, float]
    ) -> None:
        """Log those metrics whose latest value is another one: saying it again adds nothing."""
        latest = self.client.get_run(run_id).data.metrics
        if fresh := {key: v for key, v in metrics.items() if latest.get(_key(key)) != v}:
            self.log_metrics(run_id, step, time_ms, fresh)

    def logged(self, run_id: str) -> set[tuple[str, int]]:
        """Every (metric, step) the run has."""
        keys = self.client.get_run(run_id).data.metrics
        return {
            (key, entry.step)
            for key in keys
            for entry in self.client.get_metric_history(run_id, key)
        }

    def log_missing(self, run_id: str, rows: Sequence[Row]) -> int:
        """Log what the run does not have yet; returns how many rows had something to add.

        MLflow would show a (metric, step) twice that is logged twice, hence the comparison.
        """
        known = self.logged(run_id)
        missing: list[Metric] = []
        count = 0
        for row in rows:
            step = row["epoch"]
            absent = {k: v for k, v in row["metrics"].items() if (_key(k), step) not in known}
            missing += _entities(absent, step, row["time"])
            known.update((_key(key), step) for key in absent)
            count += bool(absent)
        for batch in _batches(missing, BATCH_METRICS):
            self.client.log_batch(run_id, metrics=batch)
        return count

    def log_artifact(self, run_id: str, path: Path, folder: str | None = None) -> None:
        """Copy a file to the run's artifacts, into ``folder`` of theirs."""
        self.client.log_artifact(run_id, str(path), folder)

    def log_dataset(
        self,
        run_id: str,
        name: str,
        digest: str,
        context: str,
        profile: Mapping[str, object] | None = None,
    ) -> None:
        """Say which data the run used, and for what (``context``, e.g. training).

        MLflow keeps the first 36 characters of ``digest``.
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=_cut(name, DATASET_LENGTH),
            digest=digest[:DIGEST_LENGTH],
            source_type="kdsweep",
            source=json.dumps({"name": name, "digest": digest}),
            profile=json.dumps(profile) if profile else None,
        )
        tags = [InputTag("mlflow.data.context", context)]
        self.client.log_inputs(run_id, [DatasetInput(dataset, tags)])

    def log_params(self, run_id: str, params: Mapping[str, object]) -> None:
        """Log what a run was asked to do; logging the same again changes nothing."""
        from mlflow.entities import Param

        entities = [Param(_key(key), _param_value(value)) for key, value in params.items()]
        for batch in _batches(entities, BATCH_PARAMS):
            self.client.log_batch(run_id, params=batch)


@contextmanager
def _reading(uri: str, cwd: Path) -> "Iterator[MlflowClient]":
    """A client of a store that must be there already. Raises ValueError if it is not."""
    address = backend.resolve(uri, cwd)
    if not backend.is_there(address):
        raise ValueError(
            f"--uri must be an MLflow store, got {redact_password(uri)}, which is not there"
        )
    with backend.ready(uri, address):
        mlflow = backend.import_mlflow()
        try:
            yield mlflow.MlflowClient(tracking_uri=bounded(address))
        except mlflow.MlflowException as error:
            why = backend.first_line(error)
            raise ValueError(
                f"--uri must be an MLflow store that works, got {redact_password(uri)}: {why}"
            ) from error


@contextmanager
def _without_collections() -> Iterator[None]:
    """No garbage is collected inside.

    A thousand runs are a hundred thousand objects at once, all of them in use: looking through them
    again and again takes three quarters of the time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _find_or_create(
    client: "MlflowClient", address: str, name: str, location: str | None
) -> "Experiment":
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is not None:
        return found
    has_room = location is None or len(location) <= ARTIFACTS_LENGTH
    if not has_room and backend.scheme_of(address) != "sqlite":
        raise ValueError(
            f"tracking.artifacts must be at most {ARTIFACTS_LENGTH} characters as an address in"
            f" this database, got {location}"
        )
    try:
        return client.get_experiment(client.create_experiment(name, artifact_location=location))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    found = client.get_experiment_by_name(name)
    assert found is not None, "another process was faster, so it is there"
    return found


def _followed(
    client: "MlflowClient", found: "Experiment", address: str, location: str | None
) -> "Experiment":
    """The experiment, its files where they are now if the folder around them was moved.

    Args:
        location: where it would keep its files if it were new; None where it is only read.

    Raises:
        ValueError: if files are to be written to a folder that is not there, nor anywhere else.
    """
    old = found.artifact_location
    if old == location or not moved.is_gone(old) or backend.scheme_of(address) != "sqlite":
        return found
    file = backend.sqlite_file(address)
    runs = moved.runs_of(file, found.experiment_id)
    place = moved.place_now(old, file.parent, runs)
    new = location if not runs else None if place is None else place.as_uri()
    if new is None:
        if location is None:
            return found
        raise ValueError(
            f"tracking.experiment must have its files at hand, got {found.name}, whose files in"
            f" {old} are not there (a disk that is not mounted?); mount it, or"
            " tracking.experiment=NAME begins another one"
        )
    moved.point_to(file, found.experiment_id, old, new)
    logger.warning("the files of experiment %s have moved: from %s to %s", found.name, old, new)
    return client.get_experiment(found.experiment_id)


def _is_below(address: str, folder: Path) -> bool:
    """Whether a store is a file somewhere in a folder."""
    if backend.scheme_of(address) != "sqlite":
        return False
    return backend.sqlite_file(address).is_relative_to(folder)


def _artifact_location(artifacts: str, cwd: Path) -> str:
    if MASK in register_address(artifacts):
        raise ValueError(
            "tracking.artifacts must hold no password, which MLflow would write into its database,"
            f" got {register_address(artifacts)}; its client takes one from the environment"
        )
    if "://" in artifacts:
        return artifacts
    root = (cwd / Path(artifacts).expanduser()).absolute()
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            "tracking.artifacts must be a folder that can be written, "
            f"got {artifacts} ({error.strerror})"
        ) from error
    return root.as_uri()


def _entities(metrics: Mapping[str, float | None], step: int, time_ms: int) -> "list[Metric]":
    from mlflow.entities import Metric

    # mlflow would store infinity as 1.8e308 and flatten the whole chart.
    return [
        Metric(
            _key(key),
            value if value is not None and math.isfinite(value) else math.nan,
            time_ms,
            step,
        )
        for key, value in metrics.items()
    ]


def _param_value(value: object) -> str:
    """A param as one would write it on the command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return _cut(str(value), PARAM_LENGTH)


def can_be_quoted(value: str) -> bool:
    """Whether MLflow's filters can say a value: they know no escapes."""
    return not ("'" in value and '"' in value)


def quoted(value: str) -> str:
    """A value as MLflow's filters want it. Raises ValueError for one that they cannot say."""
    if not can_be_quoted(value):
        raise ValueError(f"a tag to look for must not have both kinds of quotes, got {value}")
    return f'"{value}"' if "'" in value else f"'{value}'"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _cut_tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {_key(key): _cut(str(value), TAG_LENGTH) for key, value in tags.items()}


def _key(name: str) -> str:
    """A name of a tag, a param or a metric as MLflow takes it."""
    return re.sub(r"[^\w./ :-]", "_", name)[:NAME_LENGTH]


def _batches(items: list[Item], size: int) -> Iterator[list[Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


@functools.cache
def _origin() -> dict[str, str]:
    """Who ran what: the tags MLflow itself would set, and whether the code was as committed."""
    tags = {
        "mlflow.user": _user(),
        "mlflow.source.name": Path(sys.argv[0]).name or "python",
        "mlflow.source.type": "LOCAL",
    }
    return tags | _git_tags([Path(__file__).parent, Path.cwd()])


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user may have no name
        return "unknown"


def _git_tags(folders: Iterable[Path]) -> dict[str, str]:
    """The commit checked out in the first of these folders that is in a git checkout."""
    for folder in folders:
        if commit := _git(folder, "rev-parse", "--verify", "HEAD"):
            changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
            dirty = {"kdsweep.git.dirty": "true"} if changed else {}
            return {"mlflow.source.git.commit": commit, **dirty}
    return {}


def _git(folder: Path, *words: str) -> str | None:
    """What git says, None if it fails."""
    try:
        answer = subprocess.run(
            # A look must not lock the index against the user's own git.
            ["git", "--no-optional-locks", *words],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def now_ms() -> int:
    """Unix milliseconds, the clock of MLflow."""
    return time.time_ns() // 1_000_000
