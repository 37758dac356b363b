"""Why a composed config cannot be resolved, in one sentence each."""

import re
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationKeyError,
    InterpolationResolutionError,
    OmegaConfBaseException,
)

from kdsweep.config.expected import expected
from kdsweep.config.key_faults import unknown_key
from kdsweep.config.keys import did_you_mean_key, keys_of

RAISED = "while resolving interpolation: "


def interpolation_fault(error: InterpolationResolutionError, config: DictConfig) -> str:
    """A sentence about an interpolation, `optimizer.lr=${nope}`, that leads to no value."""
    key, text = str(error.full_key), str(error).splitlines()[0]
    if RAISED in text and " must be " in text:  # a resolver of ours
        return f"{key}: {text.rpartition(RAISED)[2]}"
    typed = _typed(key, config)
    if isinstance(error, InterpolationKeyError):
        named = re.search(r"'([^']*)' not found", text)
        others = [name for name in keys_of(config) if name != key]
        hint = "" if named is None else did_you_mean_key(named[1], others)
        return f"{key} must refer to a key, got {typed}{hint}"
    if "dereferencing" in text and (kind := expected(config, key)) is not None:
        return f"{key} must be {kind}, got {typed}"
    reason = text.rpartition(RAISED)[2].strip("\"'")
    return f"{key} must be a value or lead to one, got {typed}: {reason}"


def _typed(key: str, config: DictConfig) -> Any:
    """A value as it is written, its interpolations not followed."""
    node: Any = OmegaConf.to_container(config, resolve=False)
    for part in re.split(r"[.\[]", key):
        name = part.rstrip("]")
        if isinstance(node, dict) and name in node:
            node = node[name]
        elif isinstance(node, list) and name.isdigit() and int(name) < len(node):
            node = node[int(name)]
    return node


def nested_fault(
    error: OmegaConfBaseException, skeleton: type, node: dict[str, Any], place: str
) -> str:
    """A sentence about a node at a key ``place`` that its dataclass does not fit."""
    inside = str(error.full_key).partition("[")[0]
    key = f"{place}.{inside}" if inside else place
    whole = OmegaConf.create({})
    OmegaConf.update(whole, place, OmegaConf.structured(skeleton), force_add=True)
    value = _typed(inside, OmegaConf.create(node))
    typed = "null" if value is None else value
    if isinstance(error, ConfigKeyError | ConfigAttributeError):
        return unknown_key(key, f"{key}={typed}", whole)
    return f"{key} must be {expected(whole, key) or 'a value that fits'}, got {typed}"
