"""The ResNets for CIFAR: He et al. 2016, arXiv 1512.03385, section 4.2.

The form is the one behind the CIFAR-100 distillation tables (RepDistiller, mdistiller): where a
block changes the shape, its shortcut is a 1x1 convolution with BatchNorm, while the paper pads
with zeros. So resnet20 has 278,324 parameters at 100 classes. Their resnet8x4 and resnet32x4 are
depths 8 and 32 with four times the channels in the stages, but twice in the stem.
"""

from torch import Tensor, nn

from kdsweep.common.validation import require
from kdsweep.models.components.blocks import (
    GlobalAveragePool,
    conv_bn_relu,
    init_convolutions,
    scaled,
    shortcut,
    stage,
)
from kdsweep.models.components.checks import Shape, check_multiplier, check_task, check_units


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, plus a shortcut, then ReLU."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut = shortcut(in_channels, out_channels, stride)
        self.relu2 = nn.ReLU()

    def forward(self, maps: Tensor) -> Tensor:
        residual = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(maps)))))
        out: Tensor = self.relu2(residual + self.shortcut(maps))
        return out


class ResNet(nn.Sequential):
    """ResNet of ``depth`` = 6n + 2 layers (8, 14, ..., 110) with 16, 32 and 64 channels.

    ``width`` multiplies the channels; the stem has those of the first stage, or
    ``stem_channels``. Features, at width 1: ``stem`` and ``stage1`` (B, 16, H, W), ``stage2``
    (B, 32, H/2, W/2), ``stage3`` (B, 64, H/4, W/4), ``pool`` (B, 64), and any block,
    ``stage2.0``. The distillation tables call them f0, f1, f2, f3 and f4.
    """

    def __init__(
        self,
        in_shape: Shape,
        num_classes: int,
        depth: int = 20,
        width: float = 1.0,
        stem_channels: int | None = None,
    ) -> None:
        super().__init__()
        check_multiplier(width)
        require(depth in range(8, 111, 6), "depth", "6n + 2 from 8 to 110", depth)
        check_task(in_shape, num_classes, f"resnet{depth}", smallest=4)
        blocks = (depth - 2) // 6
        first, second, third = (scaled(base, width) for base in (16, 32, 64))
        stem = first if stem_channels is None else stem_channels
        check_units(stem, "stem_channels")
        self.stem = conv_bn_relu(in_shape[0], stem)
        self.stage1 = stage(BasicBlock, stem, first, blocks, stride=1)
        self.stage2 = stage(BasicBlock, first, second, blocks, stride=2)
        self.stage3 = stage(BasicBlock, second, third, blocks, stride=2)
        self.pool = GlobalAveragePool()
        self.head = nn.Linear(third, num_classes)
        init_convolutions(self)
