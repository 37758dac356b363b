"""Lines about long work, paced: logs of nohup, Slurm or CI are neither silent nor flooded.

The lines are records of level INFO of this module's logger. The display prints them where the
output is no terminal (`tracking.console`); elsewhere they go wherever logging is configured to.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TypeVar

from kdsweep.common.repeating import repeating

MIN_SECONDS = 10.0  # at most one line in this time
MAX_SECONDS = 55.0  # a line a minute, even where a step takes some seconds

Item = TypeVar("Item")
Clock = Callable[[], float]  # seconds since any moment, never backwards

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
    """The items; if they take long, lines such as ``what: 12,000 of 50,000``.

    Args:
        total: what all of them together count, if they have no length.
        each: what an item counts: a batch of 256 images, 256.
    """
    if total is None and isinstance(items, Sized):
        total = each * len(items)
    of_all = "" if total is None else f" of {total:,}"
    pacer = LinePacer(clock)
    for number, item in enumerate(items):
        if pacer.is_due():
            logger.info("%s: %s%s", what, f"{each * number:,}", of_all)
        yield item


@contextmanager
def lines_while(what: str, state: Callable[[], str] = str) -> Iterator[None]:
    """Inside, a line every ten seconds, from a thread: for calls of libraries without a callback.

    Args:
        state: how far it is, for the end of the line; called in the thread.
    """
    began = time.monotonic()

    def print_line() -> None:
        reached = state()
        seconds = time.monotonic() - began
        logger.info("%s: %.0f s%s", what, seconds, f", {reached}" if reached else "")

    with repeating("lines", print_line, MIN_SECONDS):
        yield
