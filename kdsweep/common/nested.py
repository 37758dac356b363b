"""Nested mappings, as configs are."""

from collections.abc import Iterator, Mapping
from typing import Any


def leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values that are no mappings, with their dotted keys: `student.model.width`, 64."""
    if not isinstance(value, Mapping):
        yield prefix, value
        return
    for key, child in value.items():
        yield from leaves(child, f"{prefix}.{key}" if prefix else str(key))
