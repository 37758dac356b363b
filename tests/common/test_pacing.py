"""When a line about long work is due, and that libraries' calls are not silent either."""

import logging
import threading
from collections.abc import Iterator

import pytest

from kdsweep.common import pacing
from kdsweep.common.pacing import LinePacer, lines_while, with_lines


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


def test_quick_work_has_no_lines_and_long_work_one_in_ten_seconds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = FakeClock()
    assert list(with_lines(slow(clock, 9, 1), "hashing", total=9, clock=clock)) == [*range(9)]
    assert caplog.messages == []
    list(with_lines(slow(clock, 3000, 1 / 128), "hashing", total=3000, clock=clock))
    assert caplog.messages == ["hashing: 1,280 of 3,000", "hashing: 2,560 of 3,000"]


def test_a_line_counts_what_an_item_holds(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pacing, "MIN_SECONDS", 0)
    list(with_lines(["a", "b"], "decoding", each=256))
    list(with_lines(iter("ab"), "batches"))
    assert caplog.messages == [
        "decoding: 0 of 512",
        "decoding: 256 of 512",
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
