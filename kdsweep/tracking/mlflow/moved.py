"""Artifacts follow a project's folder that was moved.

MLflow keeps the absolute place of an experiment's files, and of those of each run, in its database;
it would make the old place anew and write there.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit


def is_gone(location: str) -> bool:
    """Whether files are kept in a folder of this machine that is not there."""
    folder = _local(location)
    return folder is not None and not folder.exists()


def runs_of(database: Path, experiment_id: str) -> list[str]:
    """The ids of all runs of an experiment, deleted ones included. Raises sqlite3.Error."""
    with closing(sqlite3.connect(database)) as connection:
        query = "SELECT run_uuid FROM runs WHERE experiment_id = ?"
        return [run_id for (run_id,) in connection.execute(query, (experiment_id,))]


def place_now(location: str, home: Path, runs: Sequence[str]) -> Path | None:
    """Where a folder is that lay inside of another one, which is called ``home`` by now.

    Args:
        runs: ids of runs; a folder without files of any of them is another one of that name.
    """
    folder = _local(location)
    candidates = () if folder is None else _inside(home, folder)
    return next((c for c in candidates if any((c / run_id).is_dir() for run_id in runs)), None)


def point_to(database: Path, experiment_id: str, old: str, new: str) -> None:
    """Change where a sqlite database has the files of an experiment and its runs.

    Raises:
        sqlite3.Error: if the database cannot be written.
    """
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


def _local(location: str) -> Path | None:
    """The folder of an artifact location; None for one that is not of this machine's."""
    parts = urlsplit(location)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(unquote(parts.path))
    return Path(location) if not parts.scheme else None


def _inside(home: Path, folder: Path) -> Iterator[Path]:
    """The folders below a home that end as another folder does, the longest match first."""
    parts = folder.parts[1:]
    candidates = (home.joinpath(*parts[start:]) for start in range(len(parts)))
    return (candidate for candidate in candidates if candidate.is_dir())
