"""Checks for networks of other libraries: a name that must exist, images that must fit."""

import difflib
from collections.abc import Collection

import torch
from torch import nn

from kdsweep.common.text import error_reason
from kdsweep.models.components.checks import Shape


def check_name(name: str, names: Collection[str], library: str) -> None:
    """``name`` must be one of the ``names`` of the library's classifiers."""
    if name not in names:
        near = difflib.get_close_matches(str(name), names, n=4, cutoff=0.4)
        nearest = f" (near to it: {', '.join(near)})" if near else ""
        raise ValueError(
            f"model.name must be one of {library}'s {len(names)} classifiers{nearest}, got {name!r}"
        )


def check_weights_fit(name: str, in_shape: Shape) -> None:
    """Pretrained weights are for colour images."""
    if in_shape[0] != 3:
        raise ValueError(f"weights of {name} need images of 3 channels, got {in_shape[0]}")


def check_forward(model: nn.Module, name: str, in_shape: Shape) -> None:
    """Raise ValueError if a forward pass with an image of this shape fails.

    The image is zero and the network in eval mode, so neither weights nor random state change.
    """
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            model(torch.zeros(1, *in_shape))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ValueError(unsupported_images_message(name, in_shape, error)) from error
    finally:
        model.train(was_training)


def unsupported_images_message(name: str, in_shape: Shape, error: Exception) -> str:
    return f"{name} cannot take images of {in_shape[1]} x {in_shape[2]}: {error_reason(error)}"


def move_class_to(module: str, model: nn.Module) -> None:
    """Replace a model's class by an equal one that belongs to a module of kdsweep.

    Hydra checks the module of the class of an instantiated object, and libraries cannot be allowed
    as a whole, because they have functions that load pickles from any path.
    """
    own = type(model)
    model.__class__ = type(own.__name__, (own,), {"__module__": module})
