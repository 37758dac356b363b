"""Durations as people write them: 90s, 30m, 8h, 2d."""

import math
import re

from kdsweep.errors import UserError

UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds_of(text: str | None) -> float:
    """Seconds; infinite for None. Raises UserError for what is no duration."""
    if text is None:
        return math.inf
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", str(text))
    if match is None or float(match[1]) <= 0:
        raise UserError(f"search.timeout must be like 90s, 30m, 8h or 2d, got {text}")
    return float(match[1]) * UNITS[match[2]]
