"""ShuffleNet V2 (Ma et al. 2018, arXiv 1807.11164) for small images.

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
)
from kdsweep.models.components.checks import Shape, check_multiplier, check_task

STEM_CHANNELS = 24
CHANNELS, UNITS = (116, 232, 464), (3, 7, 3)
LAST_CHANNELS = 1024


class HalvingUnit(nn.Module):
    """Two branches over all channels, each to half of ``out_channels`` and half of H and W."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.short = nn.Sequential(
            conv_bn(in_channels, in_channels, stride=2, groups=in_channels),
            conv_bn_relu(in_channels, half, kernel_size=1),
        )
        self.long = nn.Sequential(
            conv_bn_relu(in_channels, half, kernel_size=1),
            conv_bn(half, half, stride=2, groups=half),
            conv_bn_relu(half, half, kernel_size=1),
        )
        self.shuffle = ChannelShuffle(groups=2)

    def forward(self, maps: Tensor) -> Tensor:
        out: Tensor = self.shuffle(torch.cat([self.short(maps), self.long(maps)], dim=1))
        return out


class SplitUnit(nn.Module):
    """One half of the channels is passed through unchanged, the other through a branch."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.branch = nn.Sequential(
            conv_bn_relu(half, half, kernel_size=1),
            conv_bn(half, half, groups=half),
            conv_bn_relu(half, half, kernel_size=1),
        )
        self.shuffle = ChannelShuffle(groups=2)

    def forward(self, maps: Tensor) -> Tensor:
        kept, changed = maps.chunk(2, dim=1)
        out: Tensor = self.shuffle(torch.cat([kept, self.branch(changed)], dim=1))
        return out


class ShuffleNetV2(nn.Sequential):
    """ShuffleNet V2 for images from 8x8 on.

    ``width`` multiplies the channels of the stages, rounded to even numbers (the paper's own 0.5x,
    1.5x and 2x are no exact multiples); the last convolution has at least 1024. Features, at
    width 1: ``stem`` (B, 24, H, W), ``stage1`` (B, 116, H/2, W/2), ``stage2`` (B, 232, H/4, W/4),
    ``stage3`` (B, 464, H/8, W/8), ``last`` (B, 1024, H/8, W/8), ``pool`` (B, 1024), and any unit,
    ``stage2.0``. The distillation tables call stem, stages and pool f0 to f4.
    """

    def __init__(self, in_shape: Shape, num_classes: int, width: float = 1.0) -> None:
        super().__init__()
        check_task(in_shape, num_classes, "shufflenetv2", smallest=8)
        check_multiplier(width)
        first, second, third = (scaled(base, width, multiple=2) for base in CHANNELS)
        last = scaled(LAST_CHANNELS, max(width, 1.0))
        self.stem = conv_bn_relu(in_shape[0], STEM_CHANNELS, kernel_size=1)
        self.stage1 = stage(STEM_CHANNELS, first, UNITS[0])
        self.stage2 = stage(first, second, UNITS[1])
        self.stage3 = stage(second, third, UNITS[2])
        self.last = conv_bn_relu(third, last, kernel_size=1)
        self.pool = GlobalAveragePool()
        self.head = nn.Linear(last, num_classes)


def stage(in_channels: int, out_channels: int, units: int) -> nn.Sequential:
    """A `HalvingUnit`, then ``units`` times a `SplitUnit`."""
    rest = (SplitUnit(out_channels) for _ in range(units))
    return nn.Sequential(HalvingUnit(in_channels, out_channels), *rest)
