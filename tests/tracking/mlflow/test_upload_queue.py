import logging
import math
import sqlite3
import threading
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from kdsweep.tracking import disk
from kdsweep.tracking.mlflow import upload_queue as upload_queue_module
from kdsweep.tracking.mlflow.upload_queue import UploadQueue


def fail() -> None:
    raise RuntimeError("the store is away\nand more")


def test_work_is_done_in_order_by_another_thread() -> None:
    uploads, done = UploadQueue(), []
    for number in range(100):
        uploads.submit("a", lambda n=number: done.append((n, threading.current_thread())))
    assert uploads.when_done().wait(5)
    assert [number for number, _ in done] == list(range(100))
    assert {thread for _, thread in done}.isdisjoint({threading.current_thread()})
    assert uploads.close()


def test_what_may_wait_is_called_once_for_all_that_was_submitted_meanwhile() -> None:
    uploads, done = UploadQueue(), []

    def upload() -> None:
        done.append("uploaded")

    for _ in range(3):
        uploads.submit("a", upload, within=60)
        uploads.submit("b", upload, within=60)
    assert not done
    assert uploads.when_done().wait(5)
    assert len(done) == 2
    assert uploads.close()


def test_what_is_due_now_overtakes_what_may_wait() -> None:
    uploads, gate, done = UploadQueue(), threading.Event(), []
    calls = {name: partial(done.append, name) for name in "abc"}
    uploads.submit("gate", gate.wait)
    for name, within in (("a", 60), ("b", 60), ("c", 0), ("b", 0), ("a", 60)):
        uploads.submit(name, calls[name], within=within)
    gate.set()
    assert uploads.close(5)  # which waits for nothing to become due
    assert sorted(done) == ["a", "b", "c"]
    assert done.index("a") == 2


def test_many_that_may_wait_are_called_one_after_the_other() -> None:
    """So that the uploads of a large sweep take a part of the time only."""
    uploads = UploadQueue()
    for number in range(200):
        uploads.submit(f"run {number}", partial(int, number), within=5)
    due = sorted(uploads._due.values())
    assert due[-1] - due[0] == pytest.approx(199 * 0.2 - 5, abs=1)
    uploads.submit("run 199", partial(int, 199))
    assert min(uploads._due.values(), default=0.0) < due[0]
    assert uploads.close(5)


def test_what_is_due_first_is_found_without_looking_at_all_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared = []

    class Noted(float):
        def __lt__(self, other: float) -> bool:
            compared.append(other)
            return super().__lt__(other)

        def __add__(self, other: float) -> "Noted":
            return Noted(super().__add__(other))

    uploads, gate = UploadQueue(), threading.Event()
    uploads.submit("gate", gate.wait)
    clock = SimpleNamespace(monotonic=lambda: Noted(time.monotonic()))
    monkeypatch.setattr(upload_queue_module, "time", clock)
    for number in range(2000):
        uploads.submit(f"run {number}", partial(int, number))
    gate.set()
    assert uploads.close(5)
    assert 2000 < len(compared) < 2000 * 40  # as of a heap: a few times the logarithm


def test_the_thread_is_woken_only_for_what_is_due_before_all_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uploads, woken = UploadQueue(), []
    assert uploads.when_done().wait(5)
    notify = uploads._changed.notify

    def wake() -> None:
        woken.append(1)
        notify()

    monkeypatch.setattr(uploads._changed, "notify", wake)
    for number in range(50):  # it looks through all of them whenever it wakes
        uploads.submit(f"run {number}", partial(int, number), within=60 + number)
        if number == 0:
            deadline = time.monotonic() + 5
            while uploads._wakes_at == math.inf and time.monotonic() < deadline:
                time.sleep(0.001)
    assert len(woken) == 1
    assert uploads.close(5)


def test_submit_does_not_wait() -> None:
    uploads, gate = UploadQueue(), threading.Event()
    uploads.submit("a", gate.wait)
    assert not uploads.when_done().wait(0.05)
    gate.set()
    assert uploads.close(5)


def test_an_error_is_a_warning_once_and_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    uploads, done = UploadQueue(), []
    for run in ("a", "b"):
        for _ in range(3):
            uploads.submit(run, fail, folder=Path("multirun/0"))
        uploads.submit("c", lambda: done.append(1))
    assert uploads.close(5)
    assert uploads.pending_runs == {"a", "b"}
    assert len(done) == 2
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "(the store is away)" in caplog.text
    assert "`kdsweep sync multirun/0`" in caplog.text


@pytest.mark.parametrize("has_no_room", [True, False])
def test_a_full_disk_is_a_warning_unless_it_is_the_one_of_the_run(
    has_no_room: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full() -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(disk, "_free_bytes", lambda folder: 0 if has_no_room else 10**9)
    uploads = UploadQueue(threaded=False)
    for _ in range(2):
        uploads.submit("a", full, folder=tmp_path)
    levels = [record.levelno for record in caplog.records if record.levelno > logging.DEBUG]
    assert levels == ([] if has_no_room else [logging.WARNING])


def test_without_a_thread_work_is_done_at_once_and_guarded() -> None:
    uploads, done = UploadQueue(threaded=False), []
    uploads.submit("a", lambda: done.append(threading.current_thread()))
    uploads.submit("b", fail)
    assert done == [threading.current_thread()]
    assert uploads.pending_runs == {"b"}
    assert uploads.when_done().wait()
    assert uploads.close()


def test_a_slow_error_puts_off_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_queue_module, "SLOW_SECONDS", 0.0)
    uploads, done = UploadQueue(threaded=False), []
    uploads.submit("a", fail)
    uploads.submit("b", lambda: done.append("row"))
    assert not done
    assert uploads.pending_runs == {"a", "b"}
    uploads.end_pause()
    uploads.submit("b", lambda: done.append("row"))
    assert done == ["row"]


def test_a_quick_error_puts_off_nothing() -> None:
    uploads, done = UploadQueue(threaded=False), []
    uploads.submit("a", fail)
    uploads.submit("b", lambda: done.append("row"))
    assert done == ["row"]


def test_closing_gives_up_after_its_time_and_begins_nothing_more() -> None:
    uploads, gate, done = UploadQueue(), threading.Event(), []
    uploads.submit("a", gate.wait)
    uploads.submit("b", lambda: done.append(1))
    assert not uploads.close(0.05)
    gate.set()
    assert uploads._thread is not None
    uploads._thread.join(5)
    assert not done
    assert uploads.pending_runs == {"b"}


def test_what_comes_after_closing_stays_pending() -> None:
    uploads, done = UploadQueue(), []
    uploads.close(5)
    uploads.submit("a", lambda: done.append(1))
    assert uploads.pending_runs == {"a"}
    assert not done
    assert uploads.when_done().wait()
    assert uploads.close()
