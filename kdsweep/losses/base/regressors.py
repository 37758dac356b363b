"""Layers that map a student's feature to the shape of the teacher's."""

import math
from typing import Literal

from torch import nn

from kdsweep.losses.base.shapes import Shape, both_shapes

Regressor = Literal["conv_reg", "conv", "none"]


def regressor_between(feature: Shape, target: Shape, kind: Regressor = "conv_reg") -> nn.Module:
    """A new module from the student's shape to the teacher's, both beginning with B.

    Args:
        kind: for maps, RepDistiller's ConvReg (a convolution, BatchNorm and ReLU), or a convolution
            alone, 3x3 where the maps are of one size. ``none``: the identity, for equal shapes of
            any features.

    Raises ValueError for shapes that cannot be matched.
    """
    if kind == "none":
        return identity_between(feature, target)
    if len(feature) == len(target) == 4:
        if kind == "conv":
            return convolution_between(feature, target, same_size_kernel=3)
        convolution = convolution_between(feature, target)
        return nn.Sequential(convolution, nn.BatchNorm2d(target[1]), nn.ReLU())
    if len(feature) == len(target) and len(feature) in (2, 3) and feature[1:-1] == target[1:-1]:
        return nn.Linear(feature[-1], target[-1])
    raise ValueError(unsupported_shapes_message(feature, target))


def identity_between(feature: Shape, target: Shape) -> nn.Module:
    if tuple(feature[1:]) != tuple(target[1:]):
        shapes = both_shapes(feature, target)
        raise ValueError(f"features must have equal shapes with regressor=none, got {shapes}")
    return nn.Identity()


def convolution_between(feature: Shape, target: Shape, same_size_kernel: int = 1) -> nn.Module:
    """The convolution of RepDistiller's ConvReg: it halves, doubles, or crops to the size.

    Between maps of one size it has a kernel of ``same_size_kernel``, an odd number.
    """
    _, channels, height, width = feature
    _, target_channels, target_height, target_width = target
    if (height, width) == (2 * target_height, 2 * target_width):
        return nn.Conv2d(channels, target_channels, kernel_size=3, stride=2, padding=1)
    if (2 * height, 2 * width) == (target_height, target_width):
        return nn.ConvTranspose2d(channels, target_channels, kernel_size=4, stride=2, padding=1)
    if (height, width) == (target_height, target_width):
        size = same_size_kernel
        return nn.Conv2d(channels, target_channels, size, padding=size // 2)
    if height >= target_height and width >= target_width:
        kernel = (1 + height - target_height, 1 + width - target_width)
        return nn.Conv2d(channels, target_channels, kernel_size=kernel)
    raise ValueError(unsupported_shapes_message(feature, target))


def pointwise_between(channels: int, target_channels: int) -> nn.Module:
    """The 1x1 convolution without bias and BatchNorm of the authors of `ab` and `ofd`."""
    convolution = nn.Conv2d(channels, target_channels, kernel_size=1, bias=False)
    nn.init.normal_(convolution.weight, std=math.sqrt(2 / target_channels))
    return nn.Sequential(convolution, nn.BatchNorm2d(target_channels))


def unsupported_shapes_message(feature: Shape, target: Shape) -> str:
    return (
        "features must be two vectors, two rows of tokens of one length, or two maps of which "
        "the student's is half as large as the teacher's, as large or larger, "
        f"got {both_shapes(feature, target)}"
    )
