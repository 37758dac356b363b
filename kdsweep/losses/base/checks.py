"""Checks of the numbers a user may give a loss; every one ends in one clear sentence."""

import math
from typing import TypeGuard

# Temperatures for which values and gradients are exact to 1e-5.
COLDEST, HOTTEST = 1e-6, 1e6
TEMPERATURES = "a number from 1e-6 to 1e6"


def is_finite_number(value: object) -> TypeGuard[float]:
    """True for ints and floats but not for bools, strings, None, infinity or nan."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return math.isfinite(value)


def check_positive(name: str, value: object) -> None:
    if not is_finite_number(value) or value <= 0:
        raise ValueError(f"{name} must be a finite number > 0, got {value!r}")


def check_not_negative(name: str, value: object) -> None:
    if not is_finite_number(value) or value < 0:
        raise ValueError(f"{name} must be a finite number >= 0, got {value!r}")


def check_temperature(name: str, value: object) -> None:
    if not is_finite_number(value) or not COLDEST <= value <= HOTTEST:
        raise ValueError(f"{name} must be {TEMPERATURES}, got {value!r}")


def check_fraction(name: str, value: object) -> None:
    if not is_finite_number(value) or not 0 <= value <= 1:
        raise ValueError(f"{name} must be a number in [0, 1], got {value!r}")


def check_bool(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, got {value!r}")


def check_positive_integer(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be an integer >= 1, got {value!r}")
