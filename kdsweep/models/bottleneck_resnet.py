"""The deep ResNets of He et al. 2016 (arXiv 1512.03385, table 1), for small images.

The form is the one behind the CIFAR-100 distillation tables (RepDistiller, mdistiller): a stem of
one 3x3 convolution, without the max-pool, keeps the size of the images. torchvision's resnet50 is
for large images.
"""

from torch import Tensor, nn

from kdsweep.models.components.blocks import (
    GlobalAveragePool,
    conv_bn,
    conv_bn_relu,
    init_convolutions,
    scaled,
    shortcut,
)
from kdsweep.models.components.checks import (
    Shape,
    check_depth,
    check_image_size,
    check_multiplier,
    check_task,
)

# Blocks per stage.
BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
CHANNELS = (64, 128, 256, 512)
EXPANSION = 4


class Bottleneck(nn.Module):
    """Convolutions 1x1, 3x3 and 1x1, plus a shortcut, then ReLU.

    The first two have ``channels``, the last one ``EXPANSION`` times as many.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        out_channels = EXPANSION * channels
        self.residual = nn.Sequential(
            conv_bn_relu(in_channels, channels, kernel_size=1),
            conv_bn_relu(channels, channels, stride=stride),
            conv_bn(channels, out_channels, kernel_size=1),
        )
        self.shortcut = shortcut(in_channels, out_channels, stride)
        self.relu = nn.ReLU()

    def forward(self, maps: Tensor) -> Tensor:
        out: Tensor = self.relu(self.residual(maps) + self.shortcut(maps))
        return out


class BottleneckResNet(nn.Module):
    """ResNet of ``depth`` 50, 101 or 152; ``width`` multiplies the channels.

    Features, at width 1: ``stem`` (B, 64, H, W), ``stage1`` (B, 256, H, W), ``stage2``
    (B, 512, H/2, W/2), ``stage3`` (B, 1024, H/4, W/4), ``stage4`` (B, 2048, H/8, W/8), ``pool``
    (B, 2048), and any block, ``stage2.0``. The distillation tables call them f0 to f5.
    """

    def __init__(
        self, in_shape: Shape, num_classes: int, depth: int = 50, width: float = 1.0
    ) -> None:
        super().__init__()
        check_task(in_shape, num_classes)
        check_multiplier(width)
        check_depth(depth, BLOCKS, f"one of {sorted(BLOCKS)}")
        check_image_size(f"resnet{depth}", in_shape, smallest=8)
        first, second, third, fourth = (scaled(base, width) for base in CHANNELS)
        blocks = BLOCKS[depth]
        self.stem = conv_bn_relu(in_shape[0], first)
        self.stage1 = stage(first, first, blocks[0], stride=1)
        self.stage2 = stage(EXPANSION * first, second, blocks[1], stride=2)
        self.stage3 = stage(EXPANSION * second, third, blocks[2], stride=2)
        self.stage4 = stage(EXPANSION * third, fourth, blocks[3], stride=2)
        self.pool = GlobalAveragePool()
        self.head = nn.Linear(EXPANSION * fourth, num_classes)
        init_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        """(B, channels, H, W) -> logits (B, C)."""
        maps = self.stage2(self.stage1(self.stem(images)))
        maps = self.stage4(self.stage3(maps))
        logits: Tensor = self.head(self.pool(maps))
        return logits


def stage(in_channels: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    """``blocks`` bottlenecks; the first one changes the shape."""
    first = Bottleneck(in_channels, channels, stride)
    rest = (Bottleneck(EXPANSION * channels, channels, stride=1) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)
