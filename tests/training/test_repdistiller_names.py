"""Checkpoints of RepDistiller and mdistiller fit our networks of the same names, tensor by tensor.

The lists below are the names in their files, in their order: that of our tensors, which shows that
each is loaded where it belongs.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kdsweep.models.bottleneck_resnet import BottleneckResNet
from kdsweep.models.cifar_resnet import ResNet
from kdsweep.models.mobilenetv2 import MobileNetV2
from kdsweep.models.shufflenetv1 import ShuffleNetV1
from kdsweep.models.shufflenetv2 import ShuffleNetV2
from kdsweep.models.vgg import CONVOLUTIONS, VGG
from kdsweep.models.wide_resnet import WideResNet
from kdsweep.training.repdistiller_names import repdistiller_names
from kdsweep.training.weight_match import load_file_into

State = dict[str, Tensor]
BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def named(*layers: str, bias: bool = False) -> Iterator[str]:
    """The tensors of layers: those called bn, and numbers after a convolution, are BatchNorms."""
    for layer in layers:
        is_norm = layer.rpartition(".")[2].rstrip("123") == "bn"
        names = BATCH_NORM if is_norm else ("weight", "bias") if bias else ("weight",)
        yield from (f"{layer}.{name}" for name in names)


def pair(convolution: str, norm: str, bias: bool = False) -> Iterator[str]:
    yield from named(convolution, bias=bias)
    yield from (f"{norm}.{name}" for name in BATCH_NORM)


def pairs(block: str, numbers: range) -> Iterator[str]:
    for number in numbers:
        yield from pair(f"{block}conv{number}", f"{block}bn{number}")


def resnet(depth: int) -> Iterator[str]:
    yield from pairs("", range(1, 2))
    for layer in (1, 2, 3):
        for block in range((depth - 2) // 6):
            yield from pairs(f"layer{layer}.{block}.", range(1, 3))
            if layer > 1 and block == 0:
                yield from pair(*(f"layer{layer}.0.downsample.{i}" for i in (0, 1)))
    yield from named("fc", bias=True)


def resnet50() -> Iterator[str]:
    yield from pairs("", range(1, 2))
    for layer, blocks in enumerate((3, 4, 6, 3), start=1):
        for block in range(blocks):
            yield from pairs(f"layer{layer}.{block}.", range(1, 4))
            if block == 0:
                yield from pair(*(f"layer{layer}.0.shortcut.{i}" for i in (0, 1)))
    yield from named("linear", bias=True)


def wrn(depth: int) -> Iterator[str]:
    yield from named("conv1")
    for stage in (1, 2, 3):
        for block in range((depth - 4) // 6):
            inside = f"block{stage}.layer.{block}"
            yield from named(*(f"{inside}.{name}" for name in ("bn1", "conv1", "bn2", "conv2")))
            if block == 0:
                yield from named(f"{inside}.convShortcut")
    yield from named("bn1")
    yield from named("fc", bias=True)


def vgg(depth: int) -> Iterator[str]:
    for block, convolutions in enumerate(CONVOLUTIONS[depth]):
        for start in range(0, 3 * convolutions, 3):
            yield from pair(f"block{block}.{start}", f"block{block}.{start + 1}", bias=True)
    yield from named("classifier", bias=True)


def mobilenetv2() -> Iterator[str]:
    yield from pair("conv1.0", "conv1.1")
    for group, blocks in enumerate((1, 2, 3, 4, 3, 3, 1)):
        for block in range(blocks):
            for start in (0, 3, 6):
                inside = f"blocks.{group}.{block}.conv"
                yield from pair(f"{inside}.{start}", f"{inside}.{start + 1}")
    yield from pair("conv2.0", "conv2.1")
    yield from named("classifier.0", bias=True)


def shufflenetv1() -> Iterator[str]:
    yield from pairs("", range(1, 2))
    for layer, blocks in enumerate((4, 8, 4), start=1):
        for block in range(blocks):
            yield from pairs(f"layer{layer}.{block}.", range(1, 4))
    yield from named("linear", bias=True)


def shufflenetv2() -> Iterator[str]:
    yield from pairs("", range(1, 2))
    for layer, blocks in enumerate((4, 8, 4), start=1):
        for block in range(blocks):
            yield from pairs(f"layer{layer}.{block}.", range(1, 6 if block == 0 else 4))
    yield from pairs("", range(2, 3))
    yield from named("linear", bias=True)


Build = Callable[..., nn.Module]
# Narrow: the names do not depend on the width.
NETWORKS: dict[str, tuple[Build, Callable[[], Iterator[str]]]] = {
    **{
        f"resnet{depth}": (partial(ResNet, depth=depth, width=0.25), partial(resnet, depth))
        for depth in (8, 14, 20, 32, 44, 56, 110)
    },
    **{
        f"vgg{depth}": (
            partial(VGG, depth=depth, width=0.0625, max_pools=3),
            partial(vgg, depth),
        )
        for depth in CONVOLUTIONS
    },
    **{
        f"wrn_{depth}_2": (partial(WideResNet, depth=depth, width=0.25), partial(wrn, depth))
        for depth in (16, 40)
    },
    "ResNet50": (partial(BottleneckResNet, depth=50, width=0.125), resnet50),
    "MobileNetV2": (partial(MobileNetV2, width=0.25), mobilenetv2),
    "ShuffleV1": (partial(ShuffleNetV1, width=0.25), shufflenetv1),
    "ShuffleV2": (partial(ShuffleNetV2, width=0.25), shufflenetv2),
}


def build(name: str, **options: Any) -> nn.Module:
    return NETWORKS[name][0](in_shape=(3, 32, 32), num_classes=10, **options)


def random_like(tensor: Tensor) -> Tensor:
    return torch.rand(tensor.shape) if tensor.is_floating_point() else torch.randint(99, ())


def published(name: str) -> State:
    """Random weights under the names, and in the order, of RepDistiller's file of a network."""
    own, names = build(name).state_dict(), list(NETWORKS[name][1]())
    return {theirs: random_like(t) for theirs, t in zip(names, own.values(), strict=True)}


def prefixed(prefix: str, given: State) -> State:
    return {prefix + name: tensor for name, tensor in given.items()}


def of_repdistiller(weights: State) -> dict[str, Any]:
    rest = {"best_acc": torch.tensor(72.3), "accuracy": np.float64(72.1)}
    return {"epoch": 240, "model": weights, **rest, "optimizer": {"state": {0: {"m": 0}}}}


def refused(model: nn.Module, path: Path, content: Any) -> str:
    torch.save(content, path)
    with pytest.raises(ValueError, match="must be ") as caught:
        load_file_into(model, str(path))
    return str(caught.value).replace(str(path), "FILE")


@pytest.mark.parametrize("name", NETWORKS)
def test_every_tensor_is_loaded_where_it_belongs(tmp_path: Path, name: str) -> None:
    path, weights, model = tmp_path / "ckpt_epoch_240.pth", published(name), build(name)
    torch.save(of_repdistiller(weights), path)
    line = load_file_into(model, str(path))
    assert line is not None
    assert line.startswith(f"read 'model' of {path}, names of RepDistiller replaced")
    pairs = zip(model.state_dict().values(), weights.values(), strict=True)
    assert all(torch.equal(own, given) for own, given in pairs)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module.student."])
@pytest.mark.parametrize("key", ["model", "state_dict"])
def test_prefixes_are_removed(tmp_path: Path, prefix: str, key: str) -> None:
    """mdistiller saves a distiller: the student as `module.student.`, with its teacher."""
    path, weights, model = tmp_path / "latest", published("resnet8"), build("resnet8")
    state = prefixed(prefix, weights)
    if prefix == "module.student.":
        state |= prefixed("module.teacher.", published("resnet14"))
    torch.save({key: state, "opt": argparse.Namespace(learning_rate=0.05)}, path)
    line = load_file_into(model, str(path))
    assert line is not None
    assert line.startswith(
        f"read {key!r} of {path}, names of RepDistiller replaced, prefix {prefix!r} removed"
    )
    assert torch.equal(model.get_parameter("head.weight"), weights["fc.weight"])


def test_another_network_is_refused_in_the_names_of_the_file(tmp_path: Path) -> None:
    content = of_repdistiller(published("resnet14"))
    sentence = refused(build("resnet20"), tmp_path / "model.pth", content)
    assert sentence == (
        "must be weights of this network, got FILE ('model') with names of RepDistiller: 92 of its"
        " 128 names match; the file lacks 'layer1.2.conv1.weight', 'layer1.2.bn1.weight' and 28"
        " more, which the model has"
    )
    wide = ResNet((3, 32, 32), 10, depth=14, width=0.5)
    assert "the file has 'bn1.bias' of shape (4,), the model needs (8,)" in refused(
        wide, tmp_path / "model.pth", content
    )
    content = of_repdistiller(published("vgg8"))
    assert "which the model lacks" in refused(build("resnet8"), tmp_path / "model.pth", content)


def test_our_names_and_theirs_in_one_file_must_hold_the_same(tmp_path: Path) -> None:
    model, weights = build("resnet8"), published("resnet8")
    both = {"model": weights, "state_dict": model.state_dict()}
    assert "in which 'model' and 'state_dict' fit and differ" in refused(
        build("resnet8"), tmp_path / "model.pth", both
    )


@pytest.mark.parametrize("max_pools", [1, 5])
def test_a_vgg_with_other_pools_computes_something_else(tmp_path: Path, max_pools: int) -> None:
    content = of_repdistiller(published("vgg8"))
    assert refused(build("vgg8", max_pools=max_pools), tmp_path / "model.pth", content) == (
        "must be weights of this network, got FILE ('model') with names of RepDistiller, where a"
        f" VGG has model.max_pools=3 (for images of 64 x 64: 4), not {max_pools}"
    )
    torch.save(content, tmp_path / "model.pth")
    load_file_into(build("vgg8", max_pools=4), str(tmp_path / "model.pth"))


def test_networks_that_it_does_not_have() -> None:
    assert repdistiller_names(nn.Linear(2, 2), ["weight", "bias"]) == {}
