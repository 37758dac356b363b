"""Keys of the trainer that were added later.

Where they have no effect they are left out of all that is hashed, so that earlier runs and searches
are found.
"""

from collections.abc import Mapping
from typing import Any

OF_DEVICES = ("devices", "sync_batchnorm")


def without_added(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a trainer for what is hashed: with one device neither key has an effect."""
    if trainer.get("devices", 1) == 1:
        left_out = OF_DEVICES
    else:
        left_out = () if trainer.get("sync_batchnorm") else ("sync_batchnorm",)
    return {key: value for key, value in trainer.items() if key not in left_out}


def without_added_below(node: Any) -> Any:
    """A config as plain values, of which every trainer is that of `without_added`."""
    if not isinstance(node, Mapping):
        return node
    return {
        key: without_added(child)
        if key == "trainer" and isinstance(child, Mapping)
        else without_added_below(child)
        for key, child in node.items()
    }
