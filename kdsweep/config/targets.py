"""Nodes that objects are made of: each must name its class."""

from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from typing import Any

from kdsweep.common.validation import shown
from kdsweep.config.run_config import RunConfig

OBJECTS = ("model", "source", "optimizer", "schedule")
AT_THE_ROOT = ("student.model", "dataset.source", "optimizer", "schedule")


def target_errors(config: RunConfig) -> list[str]:
    """A message for every model, data source, optimizer, schedule and loss term without a class."""
    found = []
    for key, node in _objects(config, ""):
        if not isinstance(node, Mapping):
            what = "a term's options" if "loss" in key.split(".") else "a mapping of options"
            found.append(f"{key} must be {what}, got {shown(node)}")
        elif "_target_" not in node:
            found.append(f"{key}._target_ must be the path of a class, got none")
        elif not isinstance(target := node["_target_"], str) or not target:
            found.append(f"{key}._target_ must be the path of a class, got {shown(target)}")
    return found


def _objects(node: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """The nodes that objects are made of; those below the root may be left empty."""
    children = vars(node) if is_dataclass(node) else node
    if not isinstance(children, Mapping):
        return
    for name, child in children.items():
        key = f"{prefix}{name}"
        if name in ("published", "extra_keys"):
            continue
        if name in OBJECTS:
            if child or key in AT_THE_ROOT:
                yield key, child
        elif name == "loss" and isinstance(child, Mapping):
            yield from ((f"{key}.{term}", options) for term, options in child.items())
        else:
            yield from _objects(child, f"{key}.")
