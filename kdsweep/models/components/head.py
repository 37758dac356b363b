"""The head of a network: the layers that give one number for each class.

Weights that were trained for other classes have another head, which a new one replaces.
"""

from collections.abc import Iterator

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
    found = [path for path, output in outputs.items() if _gives(output, logits)]
    for path in found[:1] if len(found) == 1 else ():
        if inputs[path].flatten(1).shape[1] == num_inputs(model.get_submodule(path)):
            return path
    raise ValueError("its logits are not the outputs of one linear layer")


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
