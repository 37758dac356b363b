"""Durations in configs: 90s, 30m, 8h or 2d, or a number of seconds."""

import re

from kdsweep.errors import UserError

UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_duration(key: str, value: object) -> float | None:
    """The seconds of a config's value, > 0; None for null. Raises UserError if it is no duration.

    ``key``: of the value, for the message.
    """
    if value is None:
        return None
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", str(value))
    if match is None or float(match[1]) <= 0:
        raise UserError(
            f"{key} must be null or a time > 0 like 90 (seconds), 90s, 30m, 8h or 2d, got {value}"
        )
    return float(match[1]) * UNITS[match[2]]
