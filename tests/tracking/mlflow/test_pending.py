"""The end of a sweep waits for MLflow as long as it may, and no longer."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from kdsweep.tracking.mlflow import pending as module
from kdsweep.tracking.mlflow.pending import PendingUpload, UploadRetrier, sync_command
from kdsweep.tracking.mlflow.upload_queue import UploadQueue


class Store:
    """A store that responds after it has been away for a number of requests."""

    def __init__(self, away: int = 0) -> None:
        self.experiment_id = "1"
        self.client: Any = self
        self.away, self.requests = away, 0

    def get_experiment(self, experiment: str) -> None:
        self.requests += 1
        if self.requests <= self.away:
            raise ConnectionError("no route to host")


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(module, "STEP_SECONDS", 0.01)
    monkeypatch.setattr(module, "SHOWN_AFTER", 0.0)


class Work:
    """Uploads, each of which fails a number of times before it succeeds."""

    def __init__(self, **failures: int) -> None:
        self.failures, self.tried = failures, dict.fromkeys(failures, 0)

    def pending_uploads(self) -> list[PendingUpload]:
        return [
            PendingUpload(Path(n), lambda n=n: self._upload(n))
            for n, f in self.failures.items()
            if f >= 0
        ]

    def _upload(self, name: str) -> None:
        self.tried[name] += 1
        self.failures[name] -= 1
        if self.failures[name] >= 0:
            raise ConnectionError("no route to host")


def all_uploaded(work: Work, store: Store, seconds: float = 5.0) -> bool:
    shown: list[tuple[int, float]] = []
    uploads = UploadQueue()
    opened: Any = lambda: store  # noqa: E731
    retrier = UploadRetrier(uploads, opened, seconds, lambda n, s: shown.append((n, s)))
    is_whole = retrier.upload_pending(work.pending_uploads)
    uploads.close()
    assert all(0 <= left <= seconds for _, left in shown)
    return is_whole


def test_nothing_pending_needs_no_request() -> None:
    store = Store()
    assert all_uploaded(Work(), store)
    assert store.requests == 0


def test_what_is_pending_is_looked_up_once_before_and_once_after_the_uploads() -> None:
    looks: list[int] = []  # each reads two files of every run
    retrier = UploadRetrier(UploadQueue(threaded=False), Store, 5.0, lambda n, s: None)  # type: ignore[arg-type]
    assert retrier.upload_pending(lambda: looks.append(1) or [])  # type: ignore[func-returns-value]
    assert len(looks) == 2


def test_what_is_pending_is_tried_until_a_store_that_was_away_is_back() -> None:
    work, store = Work(a=3, b=0), Store(away=3)
    assert all_uploaded(work, store)
    assert work.tried == {"a": 4, "b": 1}


def test_what_a_store_refuses_while_it_responds_is_given_up_after_two_tries() -> None:
    work = Work(bad=99, good=0)
    assert not all_uploaded(work, Store())
    assert work.tried == {"bad": 2, "good": 1}


@pytest.mark.ci
def test_it_gives_up_when_the_time_is_over() -> None:
    began = time.monotonic()
    assert not all_uploaded(Work(a=10**9), Store(away=10**9), seconds=0.2)
    assert time.monotonic() - began < 2


def test_a_store_that_hangs_takes_the_time_and_no_more() -> None:
    gate, uploads = threading.Event(), UploadQueue()
    uploads.submit("a", gate.wait)
    retrier = UploadRetrier(uploads, Store, 0.1, lambda n, s: None)  # type: ignore[arg-type]
    began = time.monotonic()
    assert not retrier.upload_pending(Work(a=0).pending_uploads)
    assert not retrier.drain()  # all calls share the time
    assert time.monotonic() - began < 1
    gate.set()


def test_ctrl_c_ends_the_waiting() -> None:
    def press(pending: int, seconds: float) -> None:
        raise KeyboardInterrupt

    gate, uploads = threading.Event(), UploadQueue()
    uploads.submit("a", gate.wait)
    retrier = UploadRetrier(uploads, Store, 60.0, press)  # type: ignore[arg-type]
    assert not retrier.upload_pending(Work(a=0).pending_uploads)
    gate.set()


def test_the_command_names_the_sweep_once_and_what_is_outside_of_it() -> None:
    folders = [Path(name) for name in ("teachers/ab c", "m/x/0", "m/x/1")]
    assert sync_command(Path("m/x"), folders) == "kdsweep sync m/x 'teachers/ab c'"
