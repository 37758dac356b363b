"""When a search must stop, and when its trials must show that they are alive."""

import time

from kdsweep.search.duration import seconds_of
from kdsweep.search.study import BEAT_SECONDS


class TimeIsUp(SystemExit):
    """The time of the search is over; what is open goes on at the next start."""


class Clock:
    """Starts with the search. Raises UserError for a timeout that is no duration."""

    def __init__(self, timeout: str | None) -> None:
        self.timeout = timeout
        self._deadline = time.monotonic() + seconds_of(timeout)
        self._last_beat = time.monotonic()

    def stop_in_time(self) -> None:
        """Raise TimeIsUp once `search.timeout` is over."""
        if time.monotonic() > self._deadline:
            raise TimeIsUp(0)

    def beats(self) -> bool:
        """Whether it is time for another sign of life; True at most once in BEAT_SECONDS."""
        now = time.monotonic()
        if now - self._last_beat < BEAT_SECONDS:
            return False
        self._last_beat = now
        return True
