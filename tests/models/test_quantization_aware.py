"""Networks that compute with the rounding of int8."""

from functools import partial

import pytest
import torch
from torch import nn

from kdsweep.deploy.architecture import described
from kdsweep.models.cnn import CNN
from kdsweep.models.quantization_aware import (
    QuantizationAware,
    round_input,
    round_weight,
    with_rounding,
    without_rounding,
)


def build(rounding: bool) -> nn.Module:
    torch.manual_seed(0)
    network = partial(CNN, width=4)
    if rounding:
        return QuantizationAware((1, 8, 8), 10, network)
    return network(in_shape=(1, 8, 8), num_classes=10)


def test_its_weights_have_the_names_and_values_of_the_network() -> None:
    plain, aware = build(False).state_dict(), build(True).state_dict()
    assert plain.keys() == aware.keys()
    for name, value in plain.items():
        assert torch.equal(value, aware[name])


def test_its_logits_are_near_those_of_the_network_and_not_the_same() -> None:
    images = torch.randn(32, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    plain, aware = build(False).eval()(images), build(True).eval()(images)
    assert not torch.equal(plain, aware)
    assert (plain - aware).abs().max() < 0.05 * plain.abs().max()


def test_weights_have_a_scale_for_each_output_channel() -> None:
    weight = torch.tensor([[1.0, 0.5, -0.004], [100.0, 50.3, 0.1]])
    rounded = round_weight(weight)
    assert torch.allclose(rounded[0] * 127, (rounded[0] * 127).round())
    assert rounded[:, 0].tolist() == pytest.approx([1.0, 100.0])
    assert (rounded - weight).abs().amax(1)[0] < 0.5 / 127 * 1.001
    assert rounded[1, 2] == 0  # less than half a step of its channel


def test_inputs_have_256_values_and_zero_is_one_of_them() -> None:
    values = torch.linspace(-1, 3, 4096)
    values[0] = 0
    rounded = round_input(values)
    assert len(rounded.unique()) <= 256
    assert rounded[0] == 0
    assert (rounded - values).abs().max() <= 4 / 255 * 0.51 + 1e-6
    assert torch.equal(round_input(torch.zeros(3)), torch.zeros(3))


def test_gradients_pass_through_the_rounding() -> None:
    weight = torch.randn(3, 5, requires_grad=True)
    round_weight(weight).sum().backward()
    assert torch.equal(weight.grad, torch.ones(3, 5))
    values = torch.randn(7, requires_grad=True)
    round_input(values).sum().backward()
    assert torch.equal(values.grad, torch.ones(7))


def test_a_bundle_describes_the_network_without_rounding() -> None:
    node = {"_target_": "kdsweep.models.cnn.CNN", "width": 4}
    rounding = with_rounding(node)
    assert rounding["_target_"] == "kdsweep.models.quantization_aware.QuantizationAware"
    assert without_rounding(rounding) == without_rounding(node) == node
    assert described(rounding, (1, 8, 8), 10) == described(node, (1, 8, 8), 10)
