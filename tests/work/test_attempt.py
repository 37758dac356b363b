"""One process has a unit: attempts, their heartbeats, and when another process may take over."""

import time
from pathlib import Path
from typing import Any

import pytest

from kdsweep.common.files import read_json, write_json_atomic
from kdsweep.work import attempt
from kdsweep.work.attempt import LOST_SECONDS, Attempt, Observer, Taken, attempt_path, latest, take


@pytest.fixture(autouse=True)
def _folder_of_units(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()


def elsewhere(folder: Path, number: int, **changes: Any) -> None:
    """Have the last attempt be one of a process on another host."""
    last = latest(folder, number)
    assert last is not None
    path = attempt_path(folder, number, last.attempt)
    write_json_atomic(path, {**read_json(path), "host": "another.example", "boot": "x", **changes})


class Clock:
    """Seconds that pass when they are slept."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(Observer.__init__, "__defaults__", (lambda: self.now,))

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_the_first_process_has_a_unit_and_the_second_is_refused(tmp_path: Path) -> None:
    first = take(tmp_path, 3)
    with pytest.raises(Taken, match="it is trained by process"):
        take(tmp_path, 3)
    first.end(attempt.PARKED)
    assert take(tmp_path, 3).attempt == 2


def test_a_file_is_made_by_one_process_only(tmp_path: Path) -> None:
    assert Attempt.make(tmp_path, 0, 1) is not None
    assert Attempt.make(tmp_path, 0, 1) is None


def test_a_process_of_this_host_that_is_gone_is_replaced_at_once(tmp_path: Path) -> None:
    take(tmp_path, 0)
    path = attempt_path(tmp_path, 0, 1)
    write_json_atomic(path, {**read_json(path), "born": "1"})  # another process has its pid
    assert take(tmp_path, 0).attempt == 2


def test_a_process_elsewhere_is_replaced_when_its_heartbeats_have_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    take(tmp_path, 0)
    elsewhere(tmp_path, 0)
    began = clock.now
    assert take(tmp_path, 0, clock.sleep).attempt == 2
    assert clock.now - began >= LOST_SECONDS


def test_a_process_elsewhere_keeps_its_unit_as_long_as_its_heart_beats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    take(tmp_path, 0)
    elsewhere(tmp_path, 0)

    def beat_late(seconds: float) -> None:
        clock.sleep(seconds)
        if clock.now > 1000 + LOST_SECONDS / 2:
            elsewhere(tmp_path, 0, count=1)

    with pytest.raises(Taken, match=r"process \d+ on another\.example"):
        take(tmp_path, 0, beat_late)


def test_clocks_of_hosts_are_not_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the time in a heartbeat nor that of its file counts."""
    clock = Clock(monkeypatch)
    take(tmp_path, 0)
    elsewhere(tmp_path, 0, beat=0.0)
    last = latest(tmp_path, 0)
    assert last is not None
    observer = Observer()
    assert not observer.is_lost(last)
    clock.sleep(LOST_SECONDS - 1)
    assert not observer.is_lost(last)
    clock.sleep(1)
    assert observer.is_lost(last)


def test_an_owner_notices_that_another_process_has_its_unit(tmp_path: Path) -> None:
    mine = take(tmp_path, 0)
    assert not mine.is_lost
    assert Attempt.make(tmp_path, 0, 2) is not None
    mine.beat()
    assert mine.is_lost
    assert latest(tmp_path, 0, 1).count == 0  # type: ignore[union-attr]
    mine.end(attempt.DONE)
    assert read_json(attempt_path(tmp_path, 0, 1))["state"] == attempt.RUNNING


def test_an_owner_that_was_stopped_for_long_looks_before_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = take(tmp_path, 0)
    assert Attempt.make(tmp_path, 0, 2) is not None
    assert not mine.is_lost  # it has just had a heartbeat
    now = time.monotonic()
    monkeypatch.setattr(attempt.time, "monotonic", lambda: now + LOST_SECONDS)
    assert mine.is_lost


def test_heartbeats_carry_progress_and_notes(tmp_path: Path) -> None:
    mine = take(tmp_path, 0)
    mine.progress, mine.notes = lambda: {"fraction": 0.5}, lambda: ["teacher cnn: val 97.0 %"]
    mine.beat()
    last = latest(tmp_path, 0)
    assert last is not None
    assert (last.count, last.progress, last.notes) == (
        1,
        {"fraction": 0.5},
        ["teacher cnn: val 97.0 %"],
    )


@pytest.mark.parametrize("text", ["", "{", '{"state": "done"}'])
def test_a_damaged_file_is_of_a_process_that_may_be_at_work(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    attempt_path(tmp_path, 0, 1).write_text(text)
    began = clock.now
    assert take(tmp_path, 0, clock.sleep).attempt == 2
    assert clock.now - began >= LOST_SECONDS


def test_a_unit_that_is_left_is_taken_by_no_process(tmp_path: Path) -> None:
    assert attempt.withdraw(tmp_path, 0)
    assert attempt.withdraw(tmp_path, 0)
    with pytest.raises(Taken):
        take(tmp_path, 0)


def test_a_unit_in_training_is_not_left(tmp_path: Path) -> None:
    mine = take(tmp_path, 0)
    assert not attempt.withdraw(tmp_path, 0)
    mine.end(attempt.PARKED)
    assert attempt.withdraw(tmp_path, 0)
    assert latest(tmp_path, 0).state == attempt.WITHDRAWN  # type: ignore[union-attr]
