"""What OmegaConf looks up for each of the thousands of nodes of a config, found in less time.

A quarter of the time of the tests is spent in OmegaConf. Nothing here changes what it returns.
"""

import sys
from abc import ABCMeta
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from typing import Any

import pytest
from omegaconf import _utils
from omegaconf.base import Container, Node

# Values that are no nodes, no dataclasses and no classes of attrs.
PLAIN = frozenset({bool, bytes, dict, float, int, list, str, tuple, type(None)})


class _PlainMeta(ABCMeta):
    """`isinstance` as for other classes: nodes have no virtual subclasses."""

    __instancecheck__ = type.__instancecheck__
    __subclasscheck__ = type.__subclasscheck__


class _KnownSpec(ModuleSpec):
    """Its parent is an attribute: each `from .base import Node` in a function reads it."""

    parent = "omegaconf"


def make_nodes_quick(patch: pytest.MonkeyPatch) -> None:
    """For good, what no `patch` can take back."""
    for kind in [Node, *_subclasses(Node)]:
        kind.__class__ = _PlainMeta  # type: ignore[assignment]
    for name, module in list(sys.modules.items()):
        if name.startswith("omegaconf.") and module.__package__ == "omegaconf":
            assert module.__spec__ is not None
            module.__spec__.__class__ = _KnownSpec
    for function in (_utils.is_attr_class, _utils.is_dataclass):
        patch.setattr(_utils, function.__name__, _false_of_plain(function))
    patch.setattr(
        Container, "_invalidate_flags_cache", _if_there(Container._invalidate_flags_cache)
    )


def _subclasses(kind: type) -> Iterator[type]:
    for below in kind.__subclasses__():
        yield below
        yield from _subclasses(below)


def _false_of_plain(function: Callable[[Any], bool]) -> Callable[[Any], bool]:
    def quick(obj: Any) -> bool:
        return type(obj) not in PLAIN and function(obj)

    return quick


def _if_there(invalidate: Callable[[Container], None]) -> Callable[[Container], None]:
    def quick(self: Container) -> None:
        if self.__dict__["_flags_cache"] is not None:
            invalidate(self)

    return quick
