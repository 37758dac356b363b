"""Calls what makes a network with the arguments that follow from the data."""

from collections.abc import Callable, Collection
from inspect import signature
from typing import Any

from torch import nn

from kdsweep.models.components.checks import Shape
from kdsweep.models.components.logits_output import return_logits


def task_arguments(names: Collection[str], in_shape: Shape, num_classes: int) -> dict[str, Any]:
    """Those of `in_shape`, `in_channels` and `num_classes` that are among the names."""
    given = {"in_shape": in_shape, "in_channels": in_shape[0], "num_classes": num_classes}
    return {name: value for name, value in given.items() if name in names}


def make_network(factory: Callable[..., nn.Module], in_shape: Shape, num_classes: int) -> nn.Module:
    """The network of a partial, which may be one of the user's, for images of a shape."""
    fixed = getattr(factory, "keywords", {})
    names = signature(factory).parameters.keys() - fixed.keys()
    model = factory(**task_arguments(names, in_shape, num_classes))
    if not type(model).__module__.startswith("kdsweep."):
        return_logits(model)
    return model
