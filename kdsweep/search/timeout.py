"""When a search must stop."""

import time

from kdsweep.search.duration import seconds_of


class TimeIsUp(SystemExit):
    """The time of the search is over; what is open goes on at the next start."""


class Clock:
    """Starts with the search. Raises UserError for a timeout that is no duration."""

    def __init__(self, timeout: str | None) -> None:
        self.timeout = timeout
        self._deadline = time.monotonic() + seconds_of(timeout)

    def stop_in_time(self) -> None:
        """Raise TimeIsUp once `search.timeout` is over."""
        if time.monotonic() > self._deadline:
            raise TimeIsUp(0)
