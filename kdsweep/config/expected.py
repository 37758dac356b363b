"""What a key of the config takes, in words, from the types of the dataclass that it is in."""

from dataclasses import fields, is_dataclass
from enum import Enum
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kdsweep.config.schema import TrainConfig

KINDS = {bool: "true or false", int: "an integer", float: "a number", str: "a string"}
PLURALS = {bool: "true and false", int: "integers", float: "numbers", str: "strings"}


def expected(config: DictConfig, key: str) -> str | None:
    """`an integer`, `null or a list of numbers`; None for a key without a type."""
    parent, _, name = key.rpartition(".")
    skeleton = skeleton_of(config, parent)
    if skeleton is None or name not in (hints := get_type_hints(skeleton)):
        return None
    return in_words(hints[name])


def skeleton_of(config: DictConfig, key: str) -> type | None:
    """The dataclass of a node; None if it has none, or there is no such node."""
    if not key:
        return TrainConfig  # a copy of the root may have lost its type
    try:
        node = OmegaConf.select(config, key)
    except OmegaConfBaseException:
        return None
    kind = OmegaConf.get_type(node) if isinstance(node, DictConfig) else None
    return kind if is_dataclass(kind) else None


def in_words(hint: Any) -> str | None:
    """A type as a phrase; None for any."""
    if hint in KINDS:
        return KINDS[hint]
    if get_origin(hint) is list or hint is list:
        held = get_args(hint)
        plural = PLURALS.get(held[0]) if held else None
        return "a list" if plural is None else f"a list of {plural}"
    if get_origin(hint) is dict or hint is dict:
        return "a mapping"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return " | ".join(hint.__members__)
    if is_dataclass(hint):
        return f"a mapping with keys of {', '.join(field.name for field in fields(hint))}"
    options = get_args(hint)
    if NoneType in options:
        rest = [phrase for option in options if (phrase := in_words(option)) is not None]
        return " or ".join(["null", *rest]) if rest else None
    return None
