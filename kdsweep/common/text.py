"""Values and names as text for people."""

from typing import Any


def format_number(value: Any) -> str:
    """A value as a person writes it: 4.0 as `4`."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def escape_unprintable(text: str) -> str:
    """A name that can be printed everywhere: unprintable characters are escaped as in Python.

    File names may hold any byte, line breaks and the control characters of terminals included.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, or its type if it has none."""
    return (str(error) or type(error).__name__).splitlines()[0]
