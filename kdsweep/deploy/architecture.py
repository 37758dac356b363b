"""The network of a manifest: what describes it, and how it is built again, without its weights.

A manifest may come from anywhere: it can only name networks, and none that loads anything.
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from kdsweep.builders.instantiate import instantiate_node
from kdsweep.builders.options import find_target
from kdsweep.common.validation import as_typed
from kdsweep.deploy.manifest import Manifest
from kdsweep.errors import UserError
from kdsweep.models.components.input_normalization import EXPECTED, Normalization, adapt_input
from kdsweep.models.quantization_aware import without_rounding

ALLOWED = ("kdsweep.models.*", "torchvision.models.*")
# Options of networks that name weights to download; the values with which nothing is.
DOWNLOADS = {"weights": None, "pretrained": False}
TRANSFORMS_INPUT = "transform_input"  # attribute of torchvision's GoogLeNet and Inception


def described(
    node: Mapping[str, Any], in_shape: tuple[int, ...], num_classes: int
) -> dict[str, Any]:
    """A config node of a network with its arguments, and without weights to download.

    One that was trained with rounding is described without it.
    """
    plain = _without_downloads(without_rounding(node))
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
    _refuse_code(manifest.model)
    options = manifest.model if may_download else _without_downloads(manifest.model)
    given = {"in_shape": manifest.preprocessing.in_shape, "num_classes": len(manifest.classes)}
    node = {key: value for key, value in options.items() if key not in given}
    with torch.random.fork_rng():
        module = instantiate_node(node, "model", _allowed=ALLOWED, **given)
    if not isinstance(module, nn.Module):
        raise UserError(f"model must be a network, got {as_typed(node.get('_target_'))}")
    if manifest.expects is not None:
        mean, std = (tuple(manifest.expects[key]) for key in ("mean", "std"))
        setattr(module, EXPECTED, Normalization(mean, std))
    if hasattr(module, TRANSFORMS_INPUT) and not may_download:
        setattr(module, TRANSFORMS_INPUT, manifest.transforms_input)
    adapt_input(module, manifest.preprocessing.mean, manifest.preprocessing.std)
    return module.eval().requires_grad_(False)


def _without_downloads(node: Any) -> Any:
    if isinstance(node, Mapping):
        own = {k: DOWNLOADS[k] for k in DOWNLOADS if k in node} if "_target_" in node else {}
        return {str(key): own.get(key, _without_downloads(value)) for key, value in node.items()}
    return [_without_downloads(value) for value in node] if isinstance(node, list | tuple) else node


def _refuse_code(node: Any) -> None:
    """Raise UserError for a node that names anything but networks, or refers to the environment."""
    if isinstance(node, str) and "${" in node:
        raise UserError(f"model must have plain values, got {node}")
    if isinstance(node, list | tuple):
        for value in node:
            _refuse_code(value)
    if not isinstance(node, Mapping):
        return
    if "_target_" in node and not _is_allowed(node["_target_"]):
        got = as_typed(node["_target_"])
        raise UserError(f"model._target_ must be a network, {' or '.join(ALLOWED)}, got {got}")
    for value in node.values():
        _refuse_code(value)


def _is_allowed(path: object) -> bool:
    """Whether a path is one of networks, and what is there is defined there.

    Modules of networks also import other functions. What does not exist is refused by its name when
    the network is built.
    """
    if not any(fnmatchcase(str(path), allowed) for allowed in ALLOWED):
        return False
    found = find_target(path)
    own = getattr(found, "__module__", None)
    return found is None or any(fnmatchcase(f"{own}.", allowed) for allowed in ALLOWED)
