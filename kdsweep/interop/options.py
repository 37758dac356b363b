"""Options of other repositories: parsed by their names there, with their defaults there."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdsweep.errors import UserError

Given = Mapping[str, str]  # an option's name -> its text
CHECKPOINTS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
Known = Mapping[str, float | str | None]  # an option's name -> its default, None for none


def parse_options(words: Sequence[str]) -> Given:
    """Names and texts of options; a name may have dashes before and inside of it.

    Raises UserError for an option without a value.
    """
    given, rest = {}, iter(words)
    for word in rest:
        name, separator, text = word.lstrip("-").partition("=")
        if not separator and name == word and Path(word).suffix in CHECKPOINTS:
            raise UserError(
                f"an option must be NAME=VALUE, got {word}; these are weights of losses, a"
                f" checkpoint is given as it is: teacher.checkpoint={word}"
            )
        if not separator and (text := next(rest, "")) == "":
            raise UserError(f"{name} must have a value, {name}=...")
        given[name.replace("-", "_")] = text
    return given


def options(given: Given, known: Known, aliases: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The value of every known option: the given one, or its default.

    Options with a text as default are texts, all others numbers. Raises UserError for an unknown
    option, and for a value that is not a finite number.
    """
    aliases = aliases or {}
    for name in given:
        one_of("an option", name, [*known, *aliases])
    values: dict[str, Any] = dict(known)
    for alias, text in given.items():
        name = aliases.get(alias, alias)
        values[name] = text if isinstance(known[name], str) else _finite(name, text)
    return values


def _finite(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{name} must be a finite number, got {text}")
    return value


def one_of(name: str, value: str, allowed: Sequence[str] | Mapping[str, Any]) -> None:
    """Raises UserError for a value that is not allowed."""
    if value not in allowed:
        raise UserError(f"{name} must be one of {', '.join(allowed)}, got {value}")


def required(chosen: Mapping[str, Any], name: str) -> float:
    """The number of an option without a default. Raises UserError if it is not given."""
    if (value := chosen[name]) is None:
        raise UserError(f"{name} must be given, it has no default there")
    assert isinstance(value, float)
    return value
