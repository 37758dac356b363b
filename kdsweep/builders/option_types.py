"""Which option of a config node has a value of a type that its `_target_` does not take."""

import inspect
from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from kdsweep.builders.options import options_of, parameters_of
from kdsweep.builders.targets import find_target
from kdsweep.common.validation import as_typed, is_integer, is_number
from kdsweep.config.expected import KINDS

NAMES = {**KINDS, NoneType: "null"}


def type_errors(node: Mapping[str, Any], key: str) -> list[str]:
    """A message for every option whose value does not have the type of its argument.

    A target checks its own values, with better messages. This is for those that fail on such a
    value with an error that does not name it.
    """
    target = find_target(node.get("_target_"))
    if target is None:
        return []
    hints = {parameter.name: _hint(parameter) for parameter in parameters_of(target)}
    return [
        f"{key}.{name} must be {described(hints[name])}, got {as_typed(value)}"
        for name, value in options_of(node).items()
        if name in hints and not fits(value, hints[name])
    ]


def _hint(parameter: inspect.Parameter) -> Any:
    """The type of an argument; that of its default if there is no other."""
    if parameter.annotation is not inspect.Parameter.empty:
        return parameter.annotation
    kind = type(parameter.default)
    return kind if kind in (float, int, bool, str) else Any


def fits(value: object, hint: Any) -> bool:
    """Whether a plain value of a config has a type; true for types that no config can hold."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(fits(value, part) for part in parts if _is_known(part)) or not any(
            map(_is_known, parts)
        )
    if origin is Literal:
        return value in parts
    if origin is tuple and Ellipsis not in parts:
        if not isinstance(value, list | tuple) or len(value) != len(parts):
            return False
        return all(fits(*pair) for pair in zip(value, parts, strict=True))
    if origin in (list, tuple, Sequence):
        return isinstance(value, list | tuple) and all(fits(child, parts[0]) for child in value)
    if hint in (float, int):
        return is_number(value) if hint is float else is_integer(value)
    return isinstance(value, hint) if hint in NAMES else True


def described(hint: Any) -> str:
    """A type in words: `a number or null`."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(described(part) for part in parts if _is_known(part)))
    if origin is Literal:
        return f"one of {', '.join(map(as_typed, parts))}"
    if origin is tuple and Ellipsis not in parts:
        return f"a list of {len(parts)}, each {described(parts[0])}"
    if origin in (list, tuple, Sequence):
        inner = described(parts[0])
        return f"a list, each {inner}" if inner else "a list"
    return NAMES.get(hint, "")


def _is_known(hint: Any) -> bool:
    """Whether a config can hold values of this type."""
    return hint in NAMES or get_origin(hint) in (Union, UnionType, Literal, list, tuple, Sequence)
