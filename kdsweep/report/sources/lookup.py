"""What a report is to be made of, from the words that the user names it by."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from kdsweep.errors import UserError
from kdsweep.report.sources.collection import Evidence, from_folder
from kdsweep.report.sources.merge import merge
from kdsweep.report.sources.mlflow import REPORTS, from_mlflow, from_query
from kdsweep.tracking.metadata import read_sweep_metadata
from kdsweep.tracking.mlflow.backend import is_sqlite_file, scheme_of
from kdsweep.tracking.mlflow.store import MLflowStore

HOME = Path("multirun")
URI = "sqlite:///mlflow.db"
EXPERIMENT = "kdsweep"
RUN_ID = re.compile(r"[0-9a-f]{32}")
QUERY = re.compile(r"[=<>]|\b(I?LIKE|IN|IS)\b", re.IGNORECASE)


class Address(NamedTuple):
    """Where MLflow is; None for what the user has not said."""

    uri: str | None = None
    experiment: str | None = None

    def open(self) -> MLflowStore:
        """The store, which must be there already. Raises UserError."""
        try:
            return MLflowStore.existing(self.uri or URI, self.experiment or EXPERIMENT)
        except ValueError as error:
            raise UserError(str(error).replace("tracking.uri", "--uri")) from error

    def refuse_absent(self) -> None:
        """Raises UserError if the user has named a store that is not there, needed or not."""
        if self.uri is not None:
            try:
                MLflowStore.refuse_absent(self.uri)
            except ValueError as error:
                raise UserError(str(error).replace("tracking.uri", "--uri")) from error


@dataclass(frozen=True)
class Source:
    """The runs, and the one run in MLflow that a report of them belongs to."""

    evidence: Evidence
    parent: str | None = None  # None for several sweeps, for a part of one, and without MLflow
    uri: str | None = None  # of the store that has it
    experiment: str | None = None

    def store(self) -> MLflowStore | None:
        """The store that has the parent run; None if there is none.

        Raises:
            ValueError: if it cannot be used.
        """
        if self.parent is None or self.uri is None:
            return None
        store = MLflowStore.existing(self.uri, self.experiment or EXPERIMENT)
        return store if store.has_run(self.parent) else None


def find(words: Sequence[str], address: Address | None = None) -> Source:
    """The runs that the words name: the latest sweep without any, several sweeps as one.

    A word is a sweep's folder, its name under multirun/, the id of its run in MLflow, or a filter
    of MLflow's.

    Raises:
        UserError: if a word names nothing.
    """
    address = address or Address()
    found = _found(words, address)
    address.refuse_absent()
    return found


def _found(words: Sequence[str], address: Address) -> Source:
    if not words:
        return _of_folder(latest(HOME), address)
    found = [source for word in dict.fromkeys(words) for source in _named(word, address)]
    if len(found) == 1:
        return found[0]
    return Source(merge([source.evidence for source in found]))


def _named(word: str, address: Address) -> list[Source]:
    for folder in (Path(word), HOME / word):
        if (folder / "sweep.json").is_file():
            return [_of_folder(folder, address)]
    if Path(word).is_dir():
        raise UserError(f"SWEEP must be a sweep's folder, got {word}, which has no sweep.json")
    if RUN_ID.fullmatch(word):
        store = address.open()
        return [Source(from_mlflow(store, word), word, store.uri, address.experiment)]
    if QUERY.search(word):
        return [_of_query(word, address)]
    raise UserError(
        f"SWEEP must be a sweep's folder, its name under {HOME}/, the id of its run in MLflow or a"
        f" filter like \"params.loss = 'kl'\", got {word}"
    )


def _of_folder(folder: Path, address: Address) -> Source:
    evidence = from_folder(folder)
    note = read_sweep_metadata(folder)
    assert note is not None, "from_folder refuses a folder without"
    experiment = address.experiment or _experiment(evidence)
    used = note["tracking_uri"]
    if used is not None and scheme_of(used) == "sqlite" and not is_sqlite_file(used):
        used = URI  # the project's folder was moved, and its database with it
    return Source(evidence, note["parent_run_id"], address.uri or used, experiment)


def _experiment(evidence: Evidence) -> str | None:
    """The name of the experiment that a sweep was logged to."""
    if not evidence.runs:
        return None
    try:
        tracking = evidence.runs[0].config.get("tracking") or {}
    except Exception:  # whatever a damaged file makes a parser say
        return None
    name = tracking.get("experiment")
    return None if name is None else str(name)


def _of_query(query: str, address: Address) -> Source:
    parts = from_query(address.open(), query)
    found = merge(parts)
    home = REPORTS / (re.sub(r"[^\w.-]+", "_", query).strip("_")[:80] or "query")
    return Source(replace(found, name=query, home=home))


def latest(home: Path = Path("multirun")) -> Path:
    """The folder of the sweep that began last.

    Raises:
        UserError: if there is none.
    """
    folders = [path.parent for path in home.glob("**/sweep.json")]
    notes = [
        (note["created"], folder) for folder in folders if (note := read_sweep_metadata(folder))
    ]
    if not notes:
        raise UserError(f"SWEEP must be a sweep's folder, got none, and {home} holds none")
    return max(notes)[1]
