"""The runs that the user names by words: folders, ids in MLflow, filters."""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from kdsweep.errors import UserError
from kdsweep.report.sources.address import EXPERIMENT, Address, present_uri
from kdsweep.report.sources.collection import RunCollection, from_folder
from kdsweep.report.sources.merge import merge
from kdsweep.report.sources.mlflow import REPORTS, from_mlflow, from_query
from kdsweep.tracking.find_sweep import MULTIRUN, latest_sweep, sweep_folder
from kdsweep.tracking.metadata import read_sweep_metadata
from kdsweep.tracking.mlflow.store import MLflowStore

RUN_ID = re.compile(r"[0-9a-f]{32}")
QUERY = re.compile(r"[=<>]|\b(I?LIKE|IN|IS)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Source:
    """The runs, and the parent run in MLflow that a report of them belongs to."""

    collection: RunCollection
    parent: str | None = None  # None for several sweeps, for a part of one, and without MLflow
    uri: str | None = None  # of the parent's store
    experiment: str | None = None

    def store(self) -> MLflowStore | None:
        """The store that has the parent run, if any. Raises ValueError if it cannot be used."""
        if self.parent is None or self.uri is None:
            return None
        store = MLflowStore.existing(self.uri, self.experiment or EXPERIMENT)
        return store if store.has_run(self.parent) else None


def find(words: Sequence[str], address: Address | None = None) -> Source:
    """The runs that the words name: the latest sweep without any, several sweeps as one.

    A word is a sweep's folder, its name under multirun/, the id of its run in MLflow, or a filter
    of MLflow's.

    Raises UserError if a word names nothing.
    """
    address = address or Address()
    if words:
        sources = [_named(word, address) for word in dict.fromkeys(words)]
    else:
        sources = [_of_folder(latest_sweep(), address)]
    if len(sources) > 1:
        sources = [Source(merge([source.collection for source in sources]))]
    address.refuse_absent()
    return sources[0]


def _named(word: str, address: Address) -> Source:
    if (folder := sweep_folder(word)) is not None:
        return _of_folder(folder, address)
    if Path(word).is_dir():
        raise UserError(f"SWEEP must be a sweep's folder, got {word}, which has no sweep.json")
    if RUN_ID.fullmatch(word):
        store = address.open()
        return Source(from_mlflow(store, word), word, store.uri, address.experiment)
    if QUERY.search(word):
        merged = merge(from_query(address.open(), word))
        folder = REPORTS / (re.sub(r"[^\w.-]+", "_", word).strip("_")[:80] or "query")
        return Source(replace(merged, name=word, folder=folder))
    raise UserError(
        f"SWEEP must be a sweep's folder, its name under {MULTIRUN}/, the id of its run in MLflow"
        f" or a filter like \"params.loss = 'kl'\", got {word}"
    )


def _of_folder(folder: Path, address: Address) -> Source:
    collection = from_folder(folder)
    note = read_sweep_metadata(folder)
    assert note is not None, "from_folder refuses a folder without"
    experiment = address.experiment
    if experiment is None and collection.runs:
        with suppress(Exception):  # a damaged file may raise any error of the parser
            experiment = (collection.runs[0].config.get("tracking") or {}).get("experiment")
    uri = address.uri or present_uri(note["tracking_uri"])
    return Source(collection, note["parent_run_id"], uri, experiment)
