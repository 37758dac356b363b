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
    faults = (target_fault(node, key) for key, node in _objects(config, ""))
    return [fault for fault in faults if fault is not None]


def target_fault(node: Any, key: str) -> str | None:
    """A message if the node at a key names no class; None if it names one, be there such or not."""
    if not isinstance(node, Mapping):
        what = "a term's options" if "loss" in key.split(".") else "a mapping of options"
        return f"{key} must be {what}, got {shown(node)}"
    if "_target_" not in node:
        return f"{key}._target_ must be the path of a class, got none"
    if not isinstance(target := node["_target_"], str) or not target:
        return f"{key}._target_ must be the path of a class, got {shown(target)}"
    return None


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
