"""The deep ResNets of He et al. 2016 (arXiv 1512.03385, table 1), for small images.

The form is the one behind the CIFAR-100 distillation tables (RepDistiller, mdistiller): a stem of
one 3x3 convolution, without the max-pool, keeps the size of the images. torchvision's resnet50 is
for large images.
"""

from torch import Tensor, nn

from kdsweep.common.validation import require
from kdsweep.models.components.blocks import (
    GlobalAveragePool,
    conv_bn,
    conv_bn_relu,
    init_convolutions,
    scaled,
    shortcut,
    stage,
)
from kdsweep.models.components.checks import Shape, check_multiplier, check_task

# Blocks per stage.
BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
CHANNELS = (64, 128, 256, 512)
EXPANSION = 4


class Bottleneck(nn.Module):
    """Convolutions 1x1, 3x3 and 1x1, plus a shortcut, then ReLU.

    The last one has ``out_channels``, ``EXPANSION`` times as many as the first two.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        inside = out_channels // EXPANSION
        self.residual = nn.Sequential(
            conv_bn_relu(in_channels, inside, kernel_size=1),
            conv_bn_relu(inside, inside, stride=stride),
            conv_bn(inside, out_channels, kernel_size=1),
        )
        self.shortcut = shortcut(in_channels, out_channels, stride)
        self.relu = nn.ReLU()

    def forward(self, maps: Tensor) -> Tensor:
        out: Tensor = self.relu(self.residual(maps) + self.shortcut(maps))
        return out


class BottleneckResNet(nn.Sequential):
    """ResNet of ``depth`` 50, 101 or 152; ``width`` multiplies the channels.

    Features, at width 1: ``stem`` (B, 64, H, W), ``stage1`` (B, 256, H, W), ``stage2``
    (B, 512, H/2, W/2), ``stage3`` (B, 1024, H/4, W/4), ``stage4`` (B, 2048, H/8, W/8), ``pool``
    (B, 2048), and any block, ``stage2.0``. The distillation tables call them f0 to f5.
    """

    def __init__(
        self, in_shape: Shape, num_classes: int, depth: int = 50, width: float = 1.0
    ) -> None:
        super().__init__()
        check_multiplier(width)
        require(depth in BLOCKS, "depth", f"one of {sorted(BLOCKS)}", depth)
        check_task(in_shape, num_classes, f"resnet{depth}", smallest=8)
        first, second, third, fourth = (EXPANSION * scaled(base, width) for base in CHANNELS)
        blocks = BLOCKS[depth]
        stem = scaled(CHANNELS[0], width)
        self.stem = conv_bn_relu(in_shape[0], stem)
        self.stage1 = stage(Bottleneck, stem, first, blocks[0], stride=1)
        self.stage2 = stage(Bottleneck, first, second, blocks[1], stride=2)
        self.stage3 = stage(Bottleneck, second, third, blocks[2], stride=2)
        self.stage4 = stage(Bottleneck, third, fourth, blocks[3], stride=2)
        self.pool = GlobalAveragePool()
        self.head = nn.Linear(fourth, num_classes)
        init_convolutions(self)
