"""Arguments of Python as words of the command line."""

from collections.abc import Mapping, Sequence
from typing import Any

from kdsweep.errors import UserError

PLAIN = "a number, a string, True, False, None, or a list of them"


def command_words(overrides: Sequence[str], settings: Mapping[str, Any]) -> list[str]:
    """The words of the command line that stand for the arguments of `kdsweep.sweep`.

    Args:
        overrides: words as they are on the command line, such as `T=1,4,16` or `search=bayes`.
        settings: values by key; a list is swept over, `T=[1, 4]` is `T=1,4`.

    Raises UserError for a value that the command line cannot express.
    """
    for word in overrides:
        if not isinstance(word, str):
            raise UserError(f"an override must be a string such as T=1,4,16, got {word!r}")
    return [*overrides, *(f"{key}={_text(key, value)}" for key, value in settings.items())]


def _text(key: str, value: Any) -> str:
    """A value, or the values of a key that is swept over, in Hydra's grammar."""
    if isinstance(value, list | tuple | range):
        if not value:
            raise UserError(f"{key} must be {PLAIN}, got an empty list")
        return ",".join(_single(key, one) for one in value)
    return _single(key, value)


def _single(key: str, value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return value
    raise UserError(f"{key} must be {PLAIN}, got {value!r}")
