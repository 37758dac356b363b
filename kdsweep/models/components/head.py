"""The head of a network: the layers that give one number for each class.

Weights that were trained for other classes have another head, which a new one replaces.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress

import torch
from torch import Tensor, nn

HEADS = (nn.Linear, nn.Conv2d)  # a 1x1 convolution in SqueezeNet and others


def head_tensors(model: nn.Module, num_classes: int) -> list[str]:
    """The names of the parameters of all layers with ``num_classes`` outputs.

    A hidden layer may be among them where its width is the number of classes.
    """
    return [
        f"{path}.{name}" if path else name
        for path, layer in _of_width(model, num_classes)
        for name, _ in layer.named_parameters(recurse=False)
    ]


def find_head(model: nn.Module, images: Tensor, num_classes: int) -> str:
    """The path of the only layer whose outputs, one for each class, are the logits of the network.

    ``images``: (B, channels, H, W), normalised, for a forward pass in eval mode; the mode is
    restored. Raises ValueError if the logits are not the outputs of a single layer, such as a mean
    of two heads, or if it has more than one input for a channel.
    """
    outputs: dict[str, Tensor] = {}
    inputs: dict[str, Tensor] = {}

    def keep(path: str) -> "torch.utils.hooks.RemovableHandle":
        def hook(layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
            inputs[path], outputs[path] = given[0], output

        return model.get_submodule(path).register_forward_hook(hook)

    handles = [keep(path) for path, _ in _of_width(model, num_classes)]
    was_training = model.training
    try:
        with torch.no_grad():
            logits = model.eval()(images)
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    heads = [path for path, output in outputs.items() if _gives(output, logits)]
    for path in heads[:1] if len(heads) == 1 else ():
        if inputs[path].flatten(1).shape[1] == num_inputs(model.get_submodule(path)):
            return path
    raise ValueError("its logits are not the outputs of one linear layer")


def reorder_classes(model: nn.Module, images: Tensor, order: Sequence[int]) -> None:
    """Put the rows of a network's head in another order: its logit c becomes the one at order[c].

    That is tried with the layer that gives the logits and with all layers of as many outputs, such
    as the two heads of DeiT, and kept where it has just that effect.

    Args:
        images: (B, channels, H, W), normalised, for forward passes in eval mode.
        order: a permutation of the C classes.

    Raises ValueError, and leaves the network as it was, if it has no such head.
    """
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            if not any(
                _reorders(model, images, order, paths)
                for paths in _heads(model, images, len(order))
            ):
                raise ValueError("its logits are not the outputs of linear layers")
    finally:
        model.train(was_training)


def _reorders(model: nn.Module, images: Tensor, order: Sequence[int], paths: Sequence[str]) -> bool:
    """Permute the outputs of layers, and undo that if the logits are not permuted by it."""
    before: Tensor = model(images)
    layers = [model.get_submodule(path) for path in paths]
    _permute(layers, order)
    allowed = 1e-3 * (before.max() - before.min())  # of rounding
    is_it = bool((model(images) - before[:, order]).abs().max() <= allowed)
    if not is_it:
        _permute(layers, sorted(range(len(order)), key=order.__getitem__))
    return is_it


def _heads(model: nn.Module, images: Tensor, num_classes: int) -> Iterator[list[str]]:
    """The paths of the layers that may be the head: first of one, then of several."""
    with suppress(ValueError):
        yield [find_head(model, images, num_classes)]
    yield [path for path, _ in _of_width(model, num_classes)]


def _permute(layers: Sequence[nn.Module], order: Sequence[int]) -> None:
    for layer in layers:
        for parameter in layer.parameters(recurse=False):
            parameter.copy_(parameter[list(order)])


def _of_width(model: nn.Module, outputs: int) -> Iterator[tuple[str, nn.Module]]:
    for path, module in model.named_modules():
        if isinstance(module, HEADS) and outputs in (
            getattr(module, "out_features", None),
            getattr(module, "out_channels", None),
        ):
            yield path, module


def _gives(output: Tensor, logits: Tensor) -> bool:
    return output.shape[0] == logits.shape[0] and torch.equal(output.flatten(1), logits)


def num_inputs(head: nn.Module) -> int:
    """The inputs of a head for one image: features of a linear layer, channels of a convolution."""
    assert isinstance(head, nn.Linear | nn.Conv2d)
    return head.in_features if isinstance(head, nn.Linear) else head.in_channels
