"""Numbers and sentences as people read them."""

from typing import Any


def number(value: Any) -> str:
    """A value as a person writes it: 4.0 as `4`."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def counted(number: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"1 {noun}" if number == 1 else f"{number} {noun}s"
