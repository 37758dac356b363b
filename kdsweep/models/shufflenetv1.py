"""ShuffleNet (Zhang et al. 2018, arXiv 1707.01083) with three groups, for small images.

The form is the one behind the CIFAR-100 distillation tables (RepDistiller, mdistiller): the stem
is a 1x1 convolution that keeps the size of the images. Weights have PyTorch's default
initialisation, as there.
"""

import torch
from torch import Tensor, nn

from kdsweep.models.components.blocks import (
    ChannelShuffle,
    GlobalAveragePool,
    conv_bn,
    conv_bn_relu,
    scaled,
    stage,
)
from kdsweep.models.components.checks import Shape, check_multiplier, check_task

GROUPS = 3
STEM_CHANNELS = 24
CHANNELS, BLOCKS = (240, 480, 960), (4, 8, 4)


class ShuffleUnit(nn.Module):
    """1x1 in groups, shuffle, 3x3 channel by channel, 1x1 in groups; then ReLU with the input.

    ``residual`` and the input are added; where the unit halves H and W (``stride`` 2), the input
    is averaged over 3x3 and concatenated: in_channels plus those of ``residual`` are out_channels.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        residual_channels = out_channels if stride == 1 else out_channels - in_channels
        inside = residual_channels // 4
        # As in the paper, the few channels of the stem are not split into groups.
        groups = 1 if in_channels == STEM_CHANNELS else GROUPS
        self.residual = nn.Sequential(
            conv_bn_relu(in_channels, inside, kernel_size=1, groups=groups),
            ChannelShuffle(groups),
            conv_bn_relu(inside, inside, stride=stride, groups=inside),
            conv_bn(inside, residual_channels, kernel_size=1, groups=GROUPS),
        )
        self.average = None if stride == 1 else nn.AvgPool2d(3, stride, padding=1)
        self.relu = nn.ReLU()

    def forward(self, maps: Tensor) -> Tensor:
        residual = self.residual(maps)
        if self.average is None:
            out: Tensor = self.relu(residual + maps)
        else:
            out = self.relu(torch.cat([residual, self.average(maps)], dim=1))
        return out


class ShuffleNetV1(nn.Sequential):
    """ShuffleNet for images from 8x8 on.

    ``width`` multiplies the channels of the stages, rounded to multiples of 12 for the groups.
    Features, at width 1: ``stem`` (B, 24, H, W), ``stage1`` (B, 240, H/2, W/2), ``stage2``
    (B, 480, H/4, W/4), ``stage3`` (B, 960, H/8, W/8), ``pool`` (B, 960), and any unit,
    ``stage2.0``. The distillation tables call them f0, f1, f2, f3 and f4.
    """

    def __init__(self, in_shape: Shape, num_classes: int, width: float = 1.0) -> None:
        super().__init__()
        check_task(in_shape, num_classes, "shufflenetv1", smallest=8)
        check_multiplier(width)
        first, second, third = (scaled(base, width, multiple=4 * GROUPS) for base in CHANNELS)
        if first <= STEM_CHANNELS:
            raise ValueError(f"width of shufflenetv1 must be at least 0.15, got {width}")
        self.stem = conv_bn_relu(in_shape[0], STEM_CHANNELS, kernel_size=1)
        self.stage1 = stage(ShuffleUnit, STEM_CHANNELS, first, BLOCKS[0], stride=2)
        self.stage2 = stage(ShuffleUnit, first, second, BLOCKS[1], stride=2)
        self.stage3 = stage(ShuffleUnit, second, third, BLOCKS[2], stride=2)
        self.pool = GlobalAveragePool()
        self.head = nn.Linear(third, num_classes)
