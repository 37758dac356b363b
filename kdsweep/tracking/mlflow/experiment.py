"""The experiment of a store: found or created, with its files where they are now.

MLflow keeps the absolute path of an experiment's files, and of those of each run, in its database;
after a project's folder was moved it would create the old path again and write there.
"""

import logging
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from kdsweep.common.passwords import MASK, register_address
from kdsweep.tracking.mlflow import backend

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

NAME_LENGTH = 256
# Where a database has the files of models: those of runs, and the versions that are registered.
MODEL_FILES = (
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
    ("model_versions", "source"),
)
LOCATION_LENGTH = 200 - len(f"/{'0' * 32}/artifacts")  # the column holds a run's own folder

logger = logging.getLogger(__name__)


def check_name(name: str) -> None:
    """Raises ValueError unless MLflow accepts the name of an experiment."""
    if not name.strip():
        raise ValueError("tracking.experiment must be a name, got an empty one")
    if len(name) > NAME_LENGTH:
        raise ValueError(
            f"tracking.experiment must be at most {NAME_LENGTH} characters,"
            f" got {name[:20]}… of {len(name)}"
        )


def artifact_location(artifacts: str, cwd: Path) -> str:
    """The address of the folder where a new experiment keeps its files, which is created.

    Raises ValueError if it cannot be created, or has a password in it.
    """
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


def find_or_create(
    client: "MlflowClient", address: str, name: str, location: str | None
) -> "Experiment":
    """The experiment of that name; a new one keeps its files at ``location``."""
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is not None:
        return experiment
    fits = location is None or len(location) <= LOCATION_LENGTH
    if not fits and backend.scheme_of(address) != "sqlite":
        raise ValueError(
            f"tracking.artifacts must be at most {LOCATION_LENGTH} characters as an address in"
            f" this database, got {location}"
        )
    try:
        return client.get_experiment(client.create_experiment(name, artifact_location=location))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None, "another process was faster, so it is there"
    return experiment


def follow_moved_files(
    client: "MlflowClient", experiment: "Experiment", address: str, location: str | None
) -> "Experiment":
    """The experiment, its files where they are now if the folder around them was moved.

    ``location`` is where it would keep its files if it were new; None where it is only read.
    Raises ValueError if files are to be written to a folder that is not there, nor anywhere else.
    """
    old = experiment.artifact_location
    if old == location or not is_gone(old) or backend.scheme_of(address) != "sqlite":
        return experiment
    file = backend.sqlite_file(address)
    with closing(sqlite3.connect(file)) as connection:
        query = "SELECT run_uuid FROM runs WHERE experiment_id = ?"  # deleted ones included
        runs = [run_id for (run_id,) in connection.execute(query, (experiment.experiment_id,))]
    if runs:
        folder = find_moved_folder(old, file.parent, runs)
        new = None if folder is None else folder.as_uri()
    else:
        new = location
    if new is None:
        if location is None:
            return experiment
        raise ValueError(
            f"tracking.experiment must have its files at hand, got {experiment.name}, whose files"
            f" in {old} are not there (a disk that is not mounted?); mount it, or"
            " tracking.experiment=NAME begins another one"
        )
    _set_location(file, experiment.experiment_id, old, new)
    logger.warning(
        "the files of experiment %s have moved: from %s to %s", experiment.name, old, new
    )
    return client.get_experiment(experiment.experiment_id)


def is_gone(location: str) -> bool:
    """Whether files are kept in a folder of this machine that is not there."""
    folder = local_folder(location)
    return folder is not None and not folder.exists()


def find_moved_folder(location: str, parent: Path, runs: Sequence[str]) -> Path | None:
    """Where the folder of an artifact location is after a folder around it was moved.

    It is below ``parent``, the new path of the folder that was moved or of one above it, and ends
    as the old one does (the longest match comes first). A folder without files of any of these
    runs is another one of that name.
    """
    folder = local_folder(location)
    parts = () if folder is None else folder.parts[1:]
    candidates = (parent.joinpath(*parts[start:]) for start in range(len(parts)))
    return next((c for c in candidates if any((c / run_id).is_dir() for run_id in runs)), None)


def _set_location(database: Path, experiment_id: str, old: str, new: str) -> None:
    """Change where a sqlite database has the files of an experiment and its runs."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?",
            (new, experiment_id),
        )
        connection.execute(
            "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?)"
            " WHERE experiment_id = ? AND substr(artifact_uri, 1, ?) = ?",
            (new, len(old) + 1, experiment_id, len(old) + 1, f"{old}/"),
        )
        for table, column in MODEL_FILES:
            connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?)"
                f" WHERE substr({column}, 1, ?) = ?",
                (new, len(old) + 1, len(old) + 1, f"{old}/"),
            )


def local_folder(location: str) -> Path | None:
    """The folder of an artifact location; None for one that is not of this machine's."""
    parts = urlsplit(location)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(unquote(parts.path))
    return Path(location) if not parts.scheme else None
