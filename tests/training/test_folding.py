"""Which BatchNorms are folded; tests/models/test_families.py folds those of every family."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from kdsweep.training.folding import Folding, foldable_pairs

IMAGES = torch.rand(3, 2, 6, 6, generator=torch.Generator().manual_seed(0))


class Network(nn.Module):
    """Two convolutions, each with a BatchNorm; the pair (conv, norm) is always to be folded."""

    def __init__(self, change: Callable[["Network"], object] = lambda network: None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4)
        self.other, self.last = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        change(self)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        return self.end(self.norm(self.conv(images)))

    def end(self, maps: Tensor) -> Tensor:
        norm: Tensor = self.last(self.other(maps))
        return norm


class ReadTwice(Network):
    def end(self, maps: Tensor) -> Tensor:
        other = self.other(maps)
        norm: Tensor = self.last(other) + other
        return norm


class RunTwice(Network):
    def end(self, maps: Tensor) -> Tensor:
        norm: Tensor = self.last(self.other(self.other(maps)))
        return norm


class WeightRead(Network):
    def end(self, maps: Tensor) -> Tensor:
        norm: Tensor = self.last(self.other(maps)) * self.other.weight.sum()
        return norm


class AlsoNamed(Network):
    def end(self, maps: Tensor) -> Tensor:
        norm: Tensor = self.others[0](self.other(maps))  # type: ignore[operator,index]
        return norm


class Branching(Network):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images if images.sum() > 0 else -images)


def hooked(network: Network) -> None:
    network.other.register_forward_hook(lambda module, inputs, output: 2 * output)


def without_statistics(network: Network) -> None:
    network.last = nn.BatchNorm2d(4, track_running_stats=False)


def named_twice(network: Network) -> None:
    network.others = nn.ModuleList([network.last])


def plain(network: Network) -> None:
    network.last = nn.BatchNorm2d(4, affine=False)


@pytest.mark.parametrize(
    "model",
    [
        *(ReadTwice(), RunTwice(), WeightRead(), AlsoNamed(named_twice)),
        *(Network(hooked), Network(without_statistics)),
    ],
    ids=["read twice", "run twice", "weight read", "named twice", "hook", "no statistics"],
)
def test_only_pairs_that_do_nothing_else_are_folded(model: Network) -> None:
    assert foldable_pairs(model) == [("conv", "norm")]
    same_after_folding(model)


@pytest.mark.parametrize("model", [Network(), Network(plain)], ids=["affine", "plain"])
def test_every_pair_is_folded(model: Network) -> None:
    assert foldable_pairs(model) == [("conv", "norm"), ("other", "last")]
    same_after_folding(model)


def same_after_folding(model: Network) -> None:
    with torch.no_grad():
        before, weights = model(IMAGES), {k: v.clone() for k, v in model.state_dict().items()}
        folding = Folding(model)
        assert isinstance(model.norm, nn.Identity)
        torch.testing.assert_close(model(IMAGES), before)
        with folding.undone():
            assert torch.equal(model(IMAGES), before)
            restored = model.state_dict()
    assert all(torch.equal(restored[name], weights[name]) for name in weights)


def test_a_graph_that_depends_on_the_images_is_refused_and_the_mode_restored() -> None:
    model = Branching().train()
    with pytest.raises(ValueError, match=r"a forward pass that torch\.fx can"):
        foldable_pairs(model)
    assert model.training


def test_a_network_without_pairs_is_refused() -> None:
    with pytest.raises(ValueError, match="a BatchNorm that directly follows a convolution"):
        foldable_pairs(nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 4, 1)))
