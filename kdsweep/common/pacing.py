"""Lines about long work, paced: logs of nohup, Slurm or CI are neither silent nor flooded.

The lines are records of level INFO of this module's logger. The display prints them where the
output is no terminal (`tracking.console`); elsewhere they go wherever logging is configured to.
On a terminal, it registers in `watchers` and draws a bar instead.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

from kdsweep.common.repeating import repeating
from kdsweep.common.text import clock_time

FIRST_SECONDS = 1.0  # what takes less has neither a line nor a bar
WATCH_SECONDS = 0.25  # between two calls of a watcher
MIN_SECONDS = 10.0  # at most one line in this time
MAX_SECONDS = 55.0  # a line a minute, even where a step takes some seconds

Item = TypeVar("Item")
Clock = Callable[[], float]  # seconds since any moment, never backwards


class Work(NamedTuple):
    """How far a piece of work is."""

    what: str
    done: int = 0
    total: int | None = None  # None: unknown


# Called with what takes long, in the thread that does it or in one of its own; with None when it
# has ended.
watchers: list[Callable[[Work | None], None]] = []

logger = logging.getLogger(__name__)
logger.setLevel(logging.INFO)  # the root's level is WARNING unless Hydra has configured it


class LinePacer:
    """Decides whether a line is due. Asking costs as much as reading the clock.

    Args:
        first: seconds after which the first line is due; None: as many as between any two.
    """

    def __init__(self, clock: Clock = time.monotonic, first: float | None = None) -> None:
        self._clock, self._last = clock, clock()
        if first is not None:
            self._last += first - MIN_SECONDS

    def restart(self) -> None:
        """A line has just been printed."""
        self._last = self._clock()

    def is_due(self) -> bool:
        """Whether something worth a line may have one now. If so, it counts as printed."""
        return self._is_past(MIN_SECONDS)

    def is_overdue(self) -> bool:
        """Whether there must be a line now, whatever it is about. If so, it counts as printed."""
        return self._is_past(MAX_SECONDS)

    def _is_past(self, seconds: float) -> bool:
        now = self._clock()
        if now - self._last < seconds:
            return False
        self._last = now
        return True


def with_lines(
    items: Iterable[Item],
    what: str,
    *,
    total: int | None = None,
    each: int = 1,
    clock: Clock = time.monotonic,
) -> Iterator[Item]:
    """The items; if they take long, lines such as ``what: 12,000 of 50,000, ETA 0:01:35``.

    Args:
        total: what all of them together count, if they have no length.
        each: what an item counts: a batch of 256 images, 256.
    """
    if total is None and isinstance(items, Sized):
        total = each * len(items)
    lines = LinePacer(clock, first=min(FIRST_SECONDS, MIN_SECONDS))
    began = clock()
    next_shown = began + FIRST_SECONDS
    try:
        for number, item in enumerate(items):
            if lines.is_due():
                reached = _reached(each * number, total, clock() - began)
                logger.info("%s: %s", what, reached)
            if watchers and (now := clock()) >= next_shown:
                next_shown = now + WATCH_SECONDS
                _show(Work(what, each * number, total))
            yield item
    finally:
        _show(None)


def _reached(done: int, total: int | None, seconds: float) -> str:
    """How far work is after so many seconds, and how long it will take if it stays as fast."""
    if total is None:
        return f"{done:,}"
    reached = f"{done:,} of {total:,}"
    if done == 0 or seconds <= 0:
        return reached
    return f"{reached}, ETA {clock_time(seconds / done * (total - done))}"


@contextmanager
def watched(show: Callable[[Work | None], None]) -> Iterator[None]:
    """Inside, ``show`` is a watcher."""
    watchers.append(show)
    try:
        yield
    finally:
        show(None)
        watchers.remove(show)


def _show(work: Work | None) -> None:
    for show in watchers:
        show(work)


@contextmanager
def lines_while(what: str, state: Callable[[], str] = str) -> Iterator[None]:
    """Inside, a line every ten seconds, from a thread: for calls of libraries without a callback.

    Args:
        state: how far it is, for the end of the line; called in the thread.
    """
    began, pacer = time.monotonic(), LinePacer()

    def print_line() -> None:
        if watchers:
            _show(Work(_with_state(what, state())))
        if pacer.is_due():
            seconds = f"{time.monotonic() - began:.0f} s"
            logger.info("%s: %s", what, _with_state(seconds, state()))

    try:
        with repeating("lines", print_line, min(FIRST_SECONDS, MIN_SECONDS)):
            yield
    finally:
        _show(None)  # when its thread has ended


def _with_state(text: str, state: str) -> str:
    return f"{text}, {state}" if state else text
