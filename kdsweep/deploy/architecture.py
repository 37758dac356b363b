"""The network of a manifest: what describes it, and how it is built again, without its weights.

A manifest may come from anywhere: it can only name networks, and none that loads anything. Those of
the user's modules must be allowed by this process (`config/allow.py`).
"""

from collections.abc import Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from inspect import isclass, isfunction
from typing import Any, get_type_hints

import torch
from torch import nn

from kdsweep.builders.instantiate import naming_key
from kdsweep.builders.models import build_model
from kdsweep.builders.targets import find_target, unknown_target
from kdsweep.common.validation import as_typed, shown
from kdsweep.config.allow import allowed_modules, how_to_allow_loading, is_own, own_module
from kdsweep.deploy.manifest import Manifest
from kdsweep.errors import UserError
from kdsweep.models.components.input_normalization import EXPECTED, Normalization, adapt_input
from kdsweep.models.components.text_head import arrange_classes
from kdsweep.models.quantization_aware import without_rounding

NETWORKS = "kdsweep.models.*"  # what a manifest may name
MADE_OF = (NETWORKS, "torchvision.models.*")  # the classes of networks that these build
# Options of networks that name weights to download; the values with which nothing is.
DOWNLOADS = {"weights": None, "pretrained": False}
TRANSFORMS_INPUT = "transform_input"  # attribute of torchvision's GoogLeNet and Inception


def described(
    node: Mapping[str, Any], in_shape: tuple[int, ...], num_classes: int
) -> dict[str, Any]:
    """A config node of a network with its arguments, and without weights to download.

    One that was trained with rounding is described without it. One of the user's is given its
    arguments when it is built, as in training.
    """
    plain: dict[str, Any] = _without_downloads(without_rounding(node))
    if is_own(plain):
        return plain
    return {**plain, "in_shape": list(in_shape), "num_classes": num_classes}


def expectation(model: nn.Module) -> dict[str, Any]:
    """The fields of a manifest that follow from how a network's weights were obtained."""
    expected = getattr(model, EXPECTED, None)
    named = None if expected is None else {k: list(v) for k, v in expected._asdict().items()}
    return {
        "expects": named,
        "transforms_input": getattr(model, TRANSFORMS_INPUT, None) is True,
    }


def build_module(manifest: Manifest, *, may_download: bool = False) -> nn.Module:
    """The network that a manifest describes, in eval mode, with random weights.

    ``may_download``: with the weights of its library that it names, as networks are built for
    training; what normalisation it expects follows from them.

    Raises UserError if it names anything but a network, or cannot be built.
    """
    refuse_code(manifest.model, "model", NETWORKS)
    options = manifest.model if may_download else _without_downloads(manifest.model)
    given = () if is_own(dict(options)) else ("in_shape", "num_classes")
    node = {key: value for key, value in options.items() if key not in given}
    shape, num_classes = manifest.preprocessing.in_shape, len(manifest.classes)
    allowed = (*MADE_OF, *(f"{module}.*" for module in allowed_modules()))
    with torch.random.fork_rng():
        module = build_model(node, "model", shape, num_classes, allowed)
    if manifest.expects is not None:
        mean, std = (tuple(manifest.expects[key]) for key in ("mean", "std"))
        setattr(module, EXPECTED, Normalization(mean, std))
    if hasattr(module, TRANSFORMS_INPUT) and not may_download:
        setattr(module, TRANSFORMS_INPUT, manifest.transforms_input)
    adapt_input(module, manifest.preprocessing.mean, manifest.preprocessing.std)
    with naming_key("model", ("texts",)):
        arrange_classes(module, manifest.classes)
    return module.eval().requires_grad_(False)


def _without_downloads(node: Any) -> Any:
    if isinstance(node, Mapping):
        own = {k: DOWNLOADS[k] for k in DOWNLOADS if k in node} if "_target_" in node else {}
        return {str(key): own.get(key, _without_downloads(value)) for key, value in node.items()}
    return [_without_downloads(value) for value in node] if isinstance(node, list | tuple) else node


def refuse_code(node: Any, key: str, allowed: str) -> None:
    """Raise UserError for a node that names anything else, or refers to the environment.

    Args:
        key: of the node, for the message.
        allowed: a pattern of the import paths that it may name.
    """
    if isinstance(node, str) and "${" in node:
        raise UserError(f"{key} must have plain values, got {node}")
    if isinstance(node, list | tuple):
        for value in node:
            refuse_code(value, key, allowed)
    if not isinstance(node, Mapping):
        return
    if "_args_" in node:  # an option without a name could be one that names weights
        raise UserError(f"{key} must have options by name, got _args_={shown(node['_args_'])}")
    if "_target_" in node and not _is_allowed(node["_target_"], allowed):
        raise UserError(_refusal(key, node["_target_"], allowed))
    for value in node.values():
        refuse_code(value, key, allowed)


def _is_allowed(path: object, allowed: str) -> bool:
    """Whether a path is that of a class or a function that is defined there.

    Modules also import what others define, and objects in them have methods: torchvision's weights
    have one that unpickles any file.
    """
    if own_module(path) is not None:
        return _is_part(find_target(path), allowed)
    target = find_target(path) if fnmatchcase(str(path), allowed) else None
    is_defined_there = fnmatchcase(f"{getattr(target, '__module__', None)}.", allowed)
    return is_defined_there and (isclass(target) or isfunction(target))


def _is_part(target: Any, allowed: str) -> bool:
    """Whether a class or a function of the user's makes what a pattern allows: nothing else of
    their modules can be called."""
    if isfunction(target):
        with suppress(NameError, TypeError, AttributeError):  # a type that cannot be evaluated
            target = get_type_hints(target).get("return")
    if allowed == NETWORKS:
        return isclass(target) and issubclass(target, nn.Module)
    return isclass(target) and all(hasattr(target, name) for name in ("load", "digest"))


def _refusal(key: str, path: object, allowed: str) -> str:
    if own_module(path) is None:
        return f"{key}._target_ must be {allowed}, got {as_typed(path)}{how_to_allow_loading(path)}"
    if find_target(path) is None:
        return unknown_target(key, path)
    kind = "an nn.Module" if allowed == NETWORKS else "a data source, with load and digest"
    return (
        f"{key}._target_ must be a class that is {kind}, or a function with such a return type,"
        f" got {path}"
    )
