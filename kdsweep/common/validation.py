"""Checks of the numbers a user gives; a ValueError reads "KEY must be ALLOWED, got VALUE"."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, TypeGuard

from kdsweep.common.suggestions import did_you_mean

# Temperatures for which values and gradients are exact to 1e-5.
COLDEST, HOTTEST = 1e-6, 1e6
TEMPERATURES = "a number from 1e-6 to 1e6"
PLAIN = re.compile(r"[\w.+/@-]+")  # a text that needs no quotes in a list


def is_number(value: object) -> TypeGuard[float]:
    """True for ints and floats, infinity and nan included, but not for bools."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_finite_number(value: object) -> TypeGuard[float]:
    return is_number(value) and math.isfinite(value)


def is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def shown(value: object) -> str:
    """A value as it is written in yaml, on one line: null, true, lists whatever their class."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {shown(child)}" for key, child in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return "[" + ", ".join(map(shown, value)) + "]"
    is_word = isinstance(value, str) and PLAIN.fullmatch(value) is not None
    return str(value) if is_word and not _reads_as_another_type(str(value)) else repr(value)


def as_typed(value: object) -> str:
    """A value of the command line: a word without quotes, unless it reads as anything else.

    `optimizer.lr='"1e-3"'` is a text, which 1e-3 would not show.
    """
    if not isinstance(value, str):
        return shown(value)
    return f"the text {value!r}" if _reads_as_another_type(value) else value


def _reads_as_another_type(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text.strip().lower() in ("", "null", "none", "true", "false")
    return True


def require(valid: bool, key: str, allowed: str, value: object) -> None:
    """Raises ValueError unless ``valid``."""
    if not valid:
        raise ValueError(f"{key} must be {allowed}, got {as_typed(value)}")


def require_integer(valid: bool, key: str, allowed: str, value: object) -> None:
    """Raises ValueError unless ``valid``; 2.0, which is no integer, is not shown as 2."""
    if not valid:
        got = repr(value) if isinstance(value, float) else as_typed(value)
        raise ValueError(f"{key} must be {allowed}, got {got}")


def import_package(package: str, extra: str) -> Any:
    """An optional package. Raises ValueError, with how to install it, if it is missing."""
    try:
        return import_module(package)
    except ImportError as error:
        raise ValueError(
            f"{package} cannot be imported ({error}): pip install 'kdsweep[{extra}]'"
        ) from error


def check_package(key: str, package: str, extra: str) -> None:
    """Raises ValueError, with how to install it, if an optional package of a key is missing."""
    try:
        import_module(package)
    except ImportError as error:
        raise ValueError(
            f"{key} must be false without the package {package}, got true;"
            f" pip install 'kdsweep[{extra}]'"
        ) from error


def check_positive(key: str, value: object) -> None:
    require(is_finite_number(value) and value > 0, key, "a finite number > 0", value)


def check_not_negative(key: str, value: object) -> None:
    require(is_finite_number(value) and value >= 0, key, "a finite number >= 0", value)


def check_temperature(key: str, value: object) -> None:
    valid = is_finite_number(value) and COLDEST <= value <= HOTTEST
    require(valid, key, TEMPERATURES, value)


def check_fraction(key: str, value: object, *, one: bool = True) -> None:
    """A number from 0 to 1, which itself may be excluded."""
    interval = f"a number in [0, 1{']' if one else ')'}"
    require(_in_unit_interval(value, zero=True, one=one), key, interval, value)


def check_share(
    key: str, value: object, *, zero: bool = True, one: bool = False, why: str = ""
) -> None:
    """A share of a data set, between 0 and 1; each end is allowed or not, for a reason ``why``."""
    interval = f"in {'[' if zero else '('}0, 1{']' if one else ')'}{why}"
    require(_in_unit_interval(value, zero=zero, one=one), key, interval, value)


def check_bool(key: str, value: object) -> None:
    require(isinstance(value, bool), key, "true or false", value)


def check_option(key: str, value: object, options: Iterable[str]) -> None:
    """One of some words, of which a misspelt one gets the nearest."""
    words = tuple(options)
    if value not in words:
        hint = did_you_mean(value, words) if isinstance(value, str) else ""
        raise ValueError(f"{key} must be one of {', '.join(words)}, got {as_typed(value)}{hint}")


def check_positive_integer(key: str, value: object) -> None:
    require_integer(is_integer(value) and value >= 1, key, "an integer >= 1", value)


def check_whole(key: str, value: object, *, least: int) -> None:
    """A whole number, at least ``least``."""
    valid = is_integer(value) and value >= least
    require_integer(valid, key, f"a whole number >= {least}", value)


def check_count(key: str, value: object) -> None:
    """A whole number >= 1, or None."""
    valid = value is None or (is_integer(value) and value >= 1)
    require_integer(valid, key, "a whole number >= 1 or null", value)


def parse_image_size(key: str, value: Any) -> tuple[int, int]:
    """(H, W) of a side in pixels, or of [H, W]."""
    sides = [value, value] if is_integer(value) else value
    is_pair = isinstance(sides, Sequence) and not isinstance(sides, str) and len(sides) == 2
    is_size = is_pair and all(is_integer(side) and side >= 1 for side in sides)
    if not is_size:
        allowed = "null, a number of pixels >= 1 or [H, W]"
        raise ValueError(f"{key} must be {allowed}, got {shown(value)}")
    height, width = sides
    return height, width


def per_channel(key: str, values: object, channels: int) -> tuple[float, ...]:
    """One finite number per channel."""
    listed = list(values) if isinstance(values, Sequence) and not isinstance(values, str) else []
    valid = len(listed) == channels and all(map(is_finite_number, listed))
    numbers = f"{channels} finite {'number' if channels == 1 else 'numbers'}"
    require(valid, key, f"null or a list of {numbers}, one per channel", values)
    return tuple(float(value) for value in listed)


def _in_unit_interval(value: object, *, zero: bool, one: bool) -> bool:
    if not is_number(value):
        return False
    return 0 < value < 1 or (zero and value == 0) or (one and value == 1)
