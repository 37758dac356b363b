"""When a search must stop: `search.timeout`, a duration like 90s, 30m, 8h or 2d."""

import math
import re
import time

from kdsweep.errors import UserError

UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


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


def parse_duration(text: str | None) -> float:
    """Seconds; infinite for None. Raises UserError if the text is no duration."""
    if text is None:
        return math.inf
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", str(text))
    if match is None or float(match[1]) <= 0:
        raise UserError(
            "search.timeout must be null or a time > 0 like 90 (seconds), 90s, 30m, 8h or 2d,"
            f" got {text}"
        )
    return float(match[1]) * UNITS[match[2]]
