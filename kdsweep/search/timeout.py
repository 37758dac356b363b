"""When a search must stop: `search.timeout`, a duration like 90s, 30m, 8h or 2d."""

import math
import time

from kdsweep.config.duration import parse_duration


class SearchTimeout(SystemExit):
    """The time of the search is over; open trials are resumed by the next start."""


class Deadline:
    """A time limit, in seconds from its construction on."""

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds

    def check(self) -> None:
        """Raise SearchTimeout once the time is over."""
        if time.monotonic() > self._deadline:
            raise SearchTimeout(0)


def parse_timeout(text: str | None) -> float:
    """Seconds; infinite for None. Raises UserError if the text is no duration."""
    seconds = parse_duration("search.timeout", text)
    return math.inf if seconds is None else seconds
