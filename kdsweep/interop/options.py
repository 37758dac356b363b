"""Options as other repositories name them: read from words, with their defaults there."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from kdsweep.errors import UserError

Given = Mapping[str, str]  # an option's name -> its text
Known = Mapping[str, float | str | None]  # an option's name -> its default, None for none


def parse_options(words: Sequence[str]) -> Given:
    """Names and texts of options; a name may have dashes before and inside of it.

    Raises UserError for an option without a value.
    """
    given, rest = {}, iter(words)
    for word in rest:
        name, separator, text = word.lstrip("-").partition("=")
        if not separator and (text := next(rest, "")) == "":
            raise UserError(f"{name} must have a value, {name}=...")
        given[name.replace("-", "_")] = text
    return given


def options(given: Given, known: Known, aliases: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Every known option's value: the given one, or its default.

    An option is a text if its default is one, else a number. Raises UserError for an option that
    is not known, and for a number that is none.
    """
    aliases = aliases or {}
    for name in given:
        one_of("an option", name, [*known, *aliases])
    texts = {aliases.get(name, name): text for name, text in given.items()}
    return {name: value_of(name, texts.get(name), default) for name, default in known.items()}


def value_of(name: str, text: str | None, default: float | str | None) -> float | str | None:
    if text is None:
        return default
    return text if isinstance(default, str) else finite(name, text)


def finite(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{name} must be a finite number, got {text}")
    return value


def one_of(name: str, value: str, allowed: Sequence[str] | Mapping[str, Any]) -> None:
    if value not in allowed:
        raise UserError(f"{name} must be one of {', '.join(allowed)}, got {value}")


def required(chosen: Mapping[str, Any], name: str) -> float:
    if (value := chosen[name]) is None:
        raise UserError(f"{name} must be given, it has no default there")
    assert isinstance(value, float)
    return value
