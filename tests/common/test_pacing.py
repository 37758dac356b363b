"""When a line about long work is due, and that libraries' calls are not silent either."""

import logging
import threading
from collections.abc import Iterator

import pytest

from kdsweep.common import pacing
from kdsweep.common.pacing import LinePacer, Work, lines_while, watched, with_lines


class FakeClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_line_is_due_after_ten_seconds_and_overdue_within_a_minute() -> None:
    clock = FakeClock()
    pacer = LinePacer(clock)
    clock.now += 9.9
    assert not pacer.is_due()
    clock.now += 0.2
    assert not pacer.is_overdue()
    assert pacer.is_due()
    assert not pacer.is_due()  # it has been printed
    clock.now += 54
    assert not pacer.is_overdue()
    clock.now += 5
    assert pacer.is_overdue()
    assert not pacer.is_due()
    clock.now += 59
    pacer.restart()
    assert not pacer.is_due()


def test_the_first_line_may_be_due_sooner() -> None:
    clock = FakeClock()
    pacer = LinePacer(clock, first=2.0)
    assert not pacer.is_due()
    clock.now += 2
    assert pacer.is_due()
    clock.now += 9
    assert not pacer.is_due()


def slow(clock: FakeClock, items: int, seconds: float) -> Iterator[int]:
    for item in range(items):
        yield item
        clock.now += seconds


def test_long_work_has_a_line_after_a_second_and_then_one_in_ten_with_the_time_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = FakeClock()
    assert list(with_lines(slow(clock, 9, 1 / 9), "hashing", total=9, clock=clock)) == [*range(9)]
    assert caplog.messages == []
    list(with_lines(slow(clock, 3000, 1 / 128), "hashing", total=3000, clock=clock))
    assert caplog.messages == [
        "hashing: 128 of 3,000, ETA 0:00:22",
        "hashing: 1,408 of 3,000, ETA 0:00:12",
        "hashing: 2,688 of 3,000, ETA 0:00:02",
    ]


def test_a_watcher_sees_long_work_four_times_a_second_until_it_ends() -> None:
    clock, seen = FakeClock(), []
    with watched(seen.append):
        list(with_lines(slow(clock, 12, 1 / 8), "hashing", total=12, clock=clock))
        assert seen == [Work("hashing", 8, 12), Work("hashing", 10, 12), None]
        seen.clear()
        next(with_lines("ab", "decoding"))  # an error ends it, too
        assert seen == [None]
    assert pacing.watchers == []


def test_a_line_counts_what_an_item_holds(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pacing, "MIN_SECONDS", 0)
    monkeypatch.setattr(pacing, "clock_time", lambda seconds: "soon")
    list(with_lines(["a", "b"], "decoding", each=256))
    list(with_lines(iter("ab"), "batches"))
    assert caplog.messages == [
        "decoding: 0 of 512",
        "decoding: 256 of 512, ETA soon",
        "batches: 0",
        "batches: 1",
    ]


def test_a_call_without_a_callback_has_lines_until_it_ends(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pacing, "MIN_SECONDS", 0.001)
    asked = threading.Event()

    def state() -> str:
        asked.set()
        return "12.0 MiB"

    def download() -> None:
        with lines_while("downloading", state):
            asked.wait()
            raise OSError("reset")

    with pytest.raises(OSError, match="reset"):
        download()
    assert not [thread for thread in threading.enumerate() if thread.name == "lines"]
    assert caplog.messages[0] == "downloading: 0 s, 12.0 MiB"
    assert caplog.records[0].levelno == logging.INFO
