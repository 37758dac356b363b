"""Networks that train with the rounding of int8: quantization-aware training.

Jacob et al. 2018, arXiv 1712.05877, section 3: in the forward pass weights and the inputs of layers
are rounded to 8 bits and back; gradients pass through the rounding (straight-through estimator).
Weights are symmetric with one scale for each output channel, inputs have one scale and one zero
point, as in `kdsweep.deploy.quantize.int8`. Scales are those of the current batch, so that a
network has no further state: its weights fit the network without rounding, and the other way.

A BatchNorm multiplies each output channel of a convolution by a number: rounding before or after
they are folded is the same.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kdsweep.models.components.checks import Shape
from kdsweep.models.components.network_factory import make_network

TARGET = f"{__name__}.QuantizationAware"
LARGEST = 127  # of a weight in int8; -128 is not used
STEPS = 255  # of an input in uint8
SMALLEST = 1e-12  # range, so that a scale is never 0


def QuantizationAware(
    in_shape: Shape, num_classes: int, network: Callable[..., nn.Module]
) -> nn.Module:
    """A network whose convolutions and linear layers compute with rounded weights and inputs.

    Its module paths and weights are those of the network. Subclasses of these layers stay as they
    are.

    Args:
        network: a student's ``model`` as a partial.
    """
    model = make_network(network, in_shape, num_classes)
    for module in model.modules():
        if type(module) in ROUNDING:
            module.__class__ = ROUNDING[type(module)]
    return model


def has_rounding(node: Mapping[str, Any]) -> bool:
    """Whether the config node of a network is that of a `QuantizationAware` one."""
    return node.get("_target_") == TARGET


def without_rounding(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """The config node of the network in that of a `QuantizationAware` one; others as they are."""
    if not has_rounding(node):
        return node
    network: Mapping[str, Any] = node["network"]
    return {key: value for key, value in network.items() if key != "_partial_"}


def with_rounding(node: Mapping[str, Any]) -> dict[str, Any]:
    """The config node of the same network, `QuantizationAware`."""
    return {"_target_": TARGET, "network": {**node, "_partial_": True}}


class RoundingConv2d(nn.Conv2d):
    """A convolution with rounded weights and inputs."""

    def forward(self, input: Tensor) -> Tensor:
        maps: Tensor = self._conv_forward(round_input(input), round_weight(self.weight), self.bias)
        return maps


class RoundingLinear(nn.Linear):
    """A linear layer with rounded weights and inputs."""

    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.linear(round_input(input), round_weight(self.weight), self.bias)


ROUNDING: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv2d: RoundingConv2d,
    nn.Linear: RoundingLinear,
}


def round_weight(weight: Tensor) -> Tensor:
    """Weights (out, ...) rounded to 255 values from -s to s, for each output channel."""
    with torch.no_grad():
        largest = weight.detach().abs().flatten(1).amax(1)
        scale = largest.clamp(min=SMALLEST).float() / LARGEST
        zero = torch.zeros_like(scale, dtype=torch.int32)
    rounded: Tensor = torch.fake_quantize_per_channel_affine(
        weight, scale, zero, 0, -LARGEST, LARGEST
    )
    return rounded


def round_input(values: Tensor) -> Tensor:
    """A layer's input of any shape, rounded to 256 values from its minimum to its maximum.

    Zero is one of them.
    """
    with torch.no_grad():
        low, high = values.detach().float().aminmax()
        low, high = low.clamp(max=0), high.clamp(min=0)
        scale = (high - low).clamp(min=SMALLEST) / STEPS
        zero = (-low / scale).round().to(torch.int32)
    rounded: Tensor = torch.fake_quantize_per_tensor_affine(values, scale, zero, 0, STEPS)
    return rounded
