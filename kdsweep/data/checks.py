"""Checks of the data set's numbers; each sentence names the key, what is allowed and what came."""

import math
from collections.abc import Sequence
from typing import TypeGuard


def check_fraction(
    key: str, value: object, *, zero: bool = True, one: bool = False, why: str = ""
) -> None:
    """A number between 0 and 1, each end allowed or not."""
    number = float(value) if _is_number(value) else math.nan
    if 0 < number < 1 or (zero and number == 0) or (one and number == 1):
        return
    span = f"{'[' if zero else '('}0, 1{']' if one else ')'}"
    raise ValueError(f"{key} must be in {span}{why}, got {shown(value)}")


def check_count(key: str, value: object) -> None:
    """A whole number >= 1, or null."""
    if value is None or (_is_whole(value) and value >= 1):
        return
    raise ValueError(f"{key} must be a whole number >= 1 or null, got {shown(value)}")


def check_whole(key: str, value: object, *, least: int) -> None:
    """A whole number, at least ``least``."""
    if not (_is_whole(value) and value >= least):
        raise ValueError(f"{key} must be a whole number >= {least}, got {shown(value)}")


def check_positive(key: str, value: object) -> None:
    """A finite number > 0."""
    if not (_is_number(value) and math.isfinite(value) and value > 0):
        raise ValueError(f"{key} must be a finite number > 0, got {shown(value)}")


def per_channel(key: str, values: object, channels: int) -> tuple[float, ...]:
    """One finite number per channel."""
    listed = list(values) if isinstance(values, Sequence) and not isinstance(values, str) else []
    if len(listed) != channels or not all(_is_number(v) and math.isfinite(v) for v in listed):
        plural = "number" if channels == 1 else "numbers"
        raise ValueError(
            f"{key} must be null or a list of {channels} finite {plural}, one per channel, "
            f"got {shown(values)}"
        )
    return tuple(float(value) for value in listed)


def shown(value: object) -> str:
    """A value as it is written in yaml: null for None, lists whatever their class."""
    if value is None:
        return "null"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return str(list(value))
    return repr(value)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
