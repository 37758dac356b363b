"""Requests to a sqlite file with one commit, of all or of none of them."""

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import sqlalchemy
from mlflow.exceptions import MlflowException
from sqlalchemy.engine import Engine

from kdsweep.tracking.mlflow import one_commit as module
from kdsweep.tracking.mlflow.one_commit import one_commit
from kdsweep.tracking.mlflow.store import MLflowStore

ROW: Any = {"epoch": 0, "time": 1, "metrics": {"val/acc": 0.5}}


@pytest.fixture
def commits() -> Iterator[list[object]]:
    seen: list[object] = []
    listener = seen.append  # each access makes another object, which could not be removed
    sqlalchemy.event.listen(Engine, "commit", listener)
    yield seen
    sqlalchemy.event.remove(Engine, "commit", listener)


@pytest.fixture
def run_id(store: MLflowStore) -> str:
    return store.new_run(name="a", parent_id=None, tags={}).run_id


def fill(store: MLflowStore, run_id: str) -> None:
    store.log(run_id, params={"T": 1}, rows=[ROW], tags={"a": "b"})
    store.finish(run_id, "FINISHED")


def content(store: MLflowStore, run_id: str) -> tuple[object, ...]:
    run = store.client.get_run(run_id)
    return run.data.params, run.data.metrics, run.data.tags.get("a"), run.info.status


def test_all_is_written_with_one_commit(
    store: MLflowStore, run_id: str, commits: list[object]
) -> None:
    commits.clear()
    with store.one_commit():
        fill(store, run_id)
        assert not commits
    assert len(commits) == 1
    assert content(store, run_id) == ({"T": "1"}, {"val/acc": 0.5}, "b", "FINISHED")
    store.set_tags(run_id, {"a": "c"})  # as ever
    assert content(store, run_id)[2] == "c"


def test_mlflow_recovers_inside_from_what_it_has_already(store: MLflowStore, run_id: str) -> None:
    store.log(run_id, rows=[ROW])
    with store.one_commit():
        store.set_tags(run_id, {"a": "b"})
        store.log(run_id, rows=[ROW])
    assert content(store, run_id) == ({}, {"val/acc": 0.5}, "b", "RUNNING")
    assert len(store.client.get_metric_history(run_id, "val/acc")) == 1


@pytest.mark.parametrize("value", [1, 2])
def test_after_an_error_nothing_is_written(store: MLflowStore, run_id: str, value: int) -> None:
    """Neither after one of MLflow's, which refuses another value of a param."""

    def write() -> None:
        with store.one_commit():
            store.log(run_id, params={"T": 1}, rows=[ROW])
            store.log(run_id, params={"T": value})
            raise ConnectionError

    with pytest.raises(ConnectionError if value == 1 else MlflowException):
        write()
    assert content(store, run_id) == ({}, {}, None, "RUNNING")


def test_another_thread_writes_by_itself(store: MLflowStore, run_id: str) -> None:
    """It waits for the file, and is not part of what is taken back."""
    other = store.new_run(name="b", parent_id=None, tags={}).run_id
    thread = threading.Thread(target=store.set_tags, args=(other, {"a": "other"}))

    def write() -> None:
        with store.one_commit():
            store.set_tags(run_id, {"a": "own"})
            thread.start()
            thread.join(0.1)
            raise ConnectionError

    with pytest.raises(ConnectionError):
        write()
    thread.join(20)
    assert content(store, other)[2] == "other"
    assert content(store, run_id)[2] is None


def test_a_file_that_cannot_be_written_is_an_error_of_mlflow(
    store: MLflowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BEGIN", "BEGIN ANYHOW")
    with pytest.raises(MlflowException, match="syntax error"), store.one_commit():
        pass


def test_other_stores_commit_as_ever(tmp_path: Path) -> None:
    client = SimpleNamespace(_tracking_client=SimpleNamespace(store=object()))
    with one_commit(cast(Any, client)):
        pass
