"""The head of a network: the layers that give one number for each class."""

import pytest
import torch
from torch import Tensor, nn

from kdsweep.models.components.head import find_head, head_tensors, num_inputs

CONVOLUTIONAL = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 3, 1))


class Averaged(nn.Module):
    """Two heads, whose mean the logits are."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 3), nn.Linear(64, 3)

    def forward(self, images: Tensor) -> Tensor:
        vectors = images.flatten(1)
        mean: Tensor = (self.first(vectors) + self.second(vectors)) / 2
        return mean


def linear(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), *layers)


@pytest.mark.parametrize(
    ("model", "head", "inputs"),
    [
        (linear(nn.Linear(64, 3)), "1", 64),
        (linear(nn.Linear(64, 5), nn.ReLU(), nn.Linear(5, 3)), "3", 5),
        (linear(nn.Linear(64, 3), nn.ReLU(), nn.Linear(3, 3)), "3", 3),
        (nn.Sequential(CONVOLUTIONAL, nn.Flatten()), "0.2", 4),
    ],
)
def test_it_is_the_layer_that_gives_the_logits(model: nn.Module, head: str, inputs: int) -> None:
    assert find_head(model.train(), torch.rand(2, 1, 8, 8), 3) == head
    assert model.training
    assert num_inputs(model.get_submodule(head)) == inputs
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    "model",
    [
        Averaged(),
        linear(nn.Linear(64, 3), nn.Softmax(1)),
        nn.Sequential(nn.Conv2d(1, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        linear(nn.LayerNorm(64)),
    ],
)
def test_logits_of_anything_else_have_no_head(model: nn.Module) -> None:
    with pytest.raises(ValueError, match="not the outputs of one linear layer"):
        find_head(model, torch.rand(2, 1, 8, 8), 3)


def test_the_tensors_of_all_heads_are_named() -> None:
    names = ["first.weight", "first.bias", "second.weight", "second.bias"]
    assert head_tensors(Averaged(), 3) == names
    assert head_tensors(Averaged(), 4) == []
