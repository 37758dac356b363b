"""The names that RepDistiller's checkpoints have for the tensors of its networks, which are ours.

The same names are in the checkpoints of mdistiller, CTKD, logit-standardization-KD, CAT-KD, ICKD,
TTM and Multi-Level-Logit-Distillation, whose networks for CIFAR-100 are RepDistiller's.
"""

import re
from collections.abc import Sequence
from itertools import count

from torch import nn

from kdsweep.models.bottleneck_resnet import BottleneckResNet
from kdsweep.models.cifar_resnet import ResNet
from kdsweep.models.mobilenetv2 import STAGES, MobileNetV2
from kdsweep.models.shufflenetv1 import ShuffleNetV1
from kdsweep.models.shufflenetv2 import ShuffleNetV2
from kdsweep.models.vgg import VGG
from kdsweep.models.wide_resnet import WideResNet

Rules = tuple[tuple[str, str], ...]  # pattern in our name, and what RepDistiller has there

ORIGIN = "RepDistiller"
MAX_POOLS = (3, 4)  # of its VGG, for images of 32 x 32 and of 64 x 64


def conv_bn(*groups: str, first: int = 1) -> Rules:
    """Convolution and BatchNorm of each of our groups: conv1 and bn1, conv2 and bn2, ..."""
    return tuple(
        (rf"{group}\.{layer}\.", f"{name}{number}.")
        for number, group in enumerate(groups, first)
        for layer, name in enumerate(("conv", "bn"))
    )


def numbered(own: str, published: str, groups: int) -> Rules:
    """Groups of convolution, BatchNorm and ReLU, whose layers are numbered through there."""
    return tuple(
        (rf"{own}\.{group}\.{layer}\.", f"{published}.{3 * group + layer}.")
        for group in range(groups)
        for layer in range(2)
    )


def mobilenet_blocks() -> Rules:
    """Our stages have one or two of the seven groups that are lists of blocks there."""
    rules, groups = [], count()
    for stage, content in enumerate(STAGES, start=1):
        numbers = count()
        for _, _, blocks, _ in content:
            group = next(groups)
            rules += [
                (rf"^stage{stage}\.{next(numbers)}\.", f"blocks.{group}.{i}.")
                for i in range(blocks)
            ]
    return tuple(rules)


STEM = conv_bn("^stem")
LAYERS = ((r"^stage(\d)", r"layer\1"),)
LINEAR = ((r"^head", "linear"),)

RULES: dict[type[nn.Module], Rules] = {
    ResNet: (*STEM, *LAYERS, ("shortcut", "downsample"), ("^head", "fc")),
    BottleneckResNet: (
        *STEM,
        *LAYERS,
        *conv_bn(r"residual\.0", r"residual\.1", r"residual\.2"),
        *LINEAR,
    ),
    WideResNet: (
        ("^stem", "conv1"),
        (r"^stage(\d)", r"block\1.layer"),
        ("shortcut", "convShortcut"),
        (r"^last\.0", "bn1"),
        ("^head", "fc"),
    ),
    VGG: (
        *(rule for i in range(5) for rule in numbered(f"^stage{i + 1}", f"block{i}", groups=4)),
        ("^head", "classifier"),
    ),
    MobileNetV2: (
        ("^stem", "conv1"),
        *mobilenet_blocks(),
        *numbered("residual", "conv", groups=3),
        ("^last", "conv2"),
        ("^head", "classifier.0"),
    ),
    ShuffleNetV1: (
        *STEM,
        *LAYERS,
        *conv_bn(r"residual\.0", r"residual\.2", r"residual\.3"),  # 1 shuffles the channels
        *LINEAR,
    ),
    ShuffleNetV2: (
        *STEM,
        *LAYERS,
        *conv_bn(r"short\.0", r"short\.1", r"long\.0", r"long\.1", r"long\.2"),
        *conv_bn(r"branch\.0", r"branch\.1", r"branch\.2"),
        *conv_bn("^last", first=2),
        *LINEAR,
    ),
}


def repdistiller_names(model: nn.Module, names: Sequence[str]) -> dict[str, str]:
    """RepDistiller's name of each of a network's tensors, by ours; none if it has no such network.

    Args:
        names: the tensors of the network's state dict.
    """
    for family, rules in RULES.items():
        if isinstance(model, family):
            return {name: _renamed(name, rules) for name in names}
    return {}


def refuse_other_form(model: nn.Module, origin: str) -> None:
    """Raise ValueError if RepDistiller's network of the same tensors computes something else."""
    if isinstance(model, VGG) and model.max_pools not in MAX_POOLS:
        raise ValueError(
            f"must be weights of this network, got {origin}, where a VGG has model.max_pools=3 (for"
            f" images of 64 x 64: 4), not {model.max_pools}"
        )


def _renamed(name: str, rules: Rules) -> str:
    for pattern, published in rules:
        name = re.sub(pattern, published, name)
    return name
