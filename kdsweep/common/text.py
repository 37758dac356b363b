"""Values, names and errors as text for people."""

from datetime import timedelta
from typing import Any

from kdsweep.common.passwords import redact_text

# Fragments of network clients' error messages, and what they mean.
NETWORK = {
    "Connection refused": "the connection is refused",
    "timed out": "no answer in time",
    "timeout expired": "no answer in time",
    "RemoteDisconnected": "the connection is closed without an answer",
    "Name or service not known": "no host of this name is known",
    "nodename nor servname provided": "no host of this name is known",
    "Connection reset by peer": "the connection is reset",
    "error 500 ": "it answers with error 500",
    "too many 500 error responses": "it answers with error 500",
}


def format_number(value: Any) -> str:
    """A value as a person writes it: 4.0 as `4`."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def counted(number: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"1 {noun}" if number == 1 else f"{number} {noun}s"


def clock_time(seconds: float) -> str:
    """A duration as `1:02:03`."""
    return str(timedelta(seconds=round(seconds)))


def escape_unprintable(text: str) -> str:
    """A name that can be printed everywhere: unprintable characters are escaped as in Python.

    File names may hold any byte, line breaks and the control characters of terminals included.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def error_reason(error: BaseException) -> str:
    """The first line of an exception's message; its type if it has none."""
    return (str(error) or type(error).__name__).splitlines()[0]


def one_line(error: BaseException) -> str:
    """The message of an exception, its lines as one."""
    return "; ".join(line.strip() for line in str(error).splitlines())


def first_line(error: BaseException) -> str:
    """An exception in at most one line, with its type if it has no message."""
    text = redact_text(str(error)).strip()
    if "http" in text or isinstance(error, OSError):
        for sign, meaning in NETWORK.items():
            if sign in text:
                return meaning
    lines = text.splitlines()
    return lines[0] if lines else type(error).__name__


def shorten(text: str, length: int) -> str:
    """At most ``length`` characters of a text; an ellipsis stands for what is cut off."""
    return text if len(text) <= length else text[: length - 1] + "…"
