"""The head of a network: the layers that give one number for each class."""

import pytest
import torch
from torch import Tensor, nn

from kdsweep.models.components.head import find_head, head_tensors, num_inputs, reorder_classes

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


ORDER = [2, 0, 1]


@pytest.mark.parametrize(
    "model",
    [
        linear(nn.Linear(64, 3)),
        linear(nn.Linear(64, 3), nn.ReLU(), nn.Linear(3, 3)),
        linear(nn.Linear(64, 3), nn.Softmax(1)),
        nn.Sequential(CONVOLUTIONAL, nn.Flatten()),
        Averaged(),
    ],
)
def test_the_classes_of_a_head_are_put_in_another_order(model: nn.Module) -> None:
    images = torch.rand(2, 1, 8, 8)
    with torch.no_grad():
        before = model.train()(images)
        reorder_classes(model, images, ORDER)
        torch.testing.assert_close(model(images), before[:, ORDER])
    assert model.training


def test_a_network_whose_classes_cannot_be_reordered_stays_as_it_is() -> None:
    model = linear(nn.Linear(64, 3), nn.ReLU(), nn.Linear(3, 3), nn.Flatten(), Weighted())
    images = torch.rand(2, 1, 8, 8)
    before = model(images)
    with pytest.raises(ValueError, match="its logits are not the outputs of linear layers"):
        reorder_classes(model, images, ORDER)
    assert torch.equal(model(images), before)


class Weighted(nn.Module):
    """Weights of its own for the logits, in a module that is no layer."""

    def forward(self, logits: Tensor) -> Tensor:
        return logits * torch.tensor([1.0, 2.0, 3.0])
