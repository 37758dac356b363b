"""MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381) for small images.

The form is the one behind the CIFAR-100 distillation tables (RepDistiller, mdistiller), where it
has width 0.5: ReLU in place of ReLU6, an expanding convolution in every block, also where it
expands by 1, and halvings at the stem and in three of the seven groups of blocks.
"""

from torch import Tensor, nn

from kdsweep.models.components.blocks import (
    GlobalAveragePool,
    conv_bn,
    conv_bn_relu,
    init_classifier,
    init_convolutions,
    scaled,
)
from kdsweep.models.components.checks import Shape, check_multiplier, check_task

# Groups of blocks by stage: (expansion, channels, blocks, stride of the first one).
STAGES = (
    ((1, 16, 1, 1), (6, 24, 2, 1)),
    ((6, 32, 3, 2),),
    ((6, 64, 4, 2), (6, 96, 3, 1)),
    ((6, 160, 3, 2), (6, 320, 1, 1)),
)


class InvertedResidual(nn.Module):
    """Expand by 1x1, filter each channel by 3x3, project by 1x1 without ReLU.

    Added to the input where the shape is equal.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        inside = in_channels * expansion
        self.residual = nn.Sequential(
            conv_bn_relu(in_channels, inside, kernel_size=1),
            conv_bn_relu(inside, inside, stride=stride, groups=inside),
            conv_bn(inside, out_channels, kernel_size=1),
        )
        self.keeps_shape = stride == 1 and in_channels == out_channels

    def forward(self, maps: Tensor) -> Tensor:
        out: Tensor = self.residual(maps)
        return maps + out if self.keeps_shape else out


class MobileNetV2(nn.Sequential):
    """MobileNetV2 for images from 16x16 on.

    ``width`` multiplies the channels; the last convolution has at least 1280. Features, at
    width 0.5: ``stem`` (B, 16, H/2, W/2), ``stage1`` (B, 12, H/2, W/2), ``stage2``
    (B, 16, H/4, W/4), ``stage3`` (B, 48, H/8, W/8), ``stage4`` (B, 160, H/16, W/16), ``last``
    (B, 1280, H/16, W/16) and ``pool`` (B, 1280). The distillation tables call stem, stages and
    pool f0 to f5.
    """

    def __init__(self, in_shape: Shape, num_classes: int, width: float = 0.5) -> None:
        super().__init__()
        check_task(in_shape, num_classes, "mobilenetv2", smallest=16)
        check_multiplier(width)
        channels = scaled(32, width)
        self.stem = conv_bn_relu(in_shape[0], channels, stride=2)
        for number, groups in enumerate(STAGES, start=1):
            self.add_module(f"stage{number}", stage(channels, groups, width))
            channels = scaled(groups[-1][1], width)
        last = scaled(1280, max(width, 1.0))
        self.last = conv_bn_relu(channels, last, kernel_size=1)
        self.pool = GlobalAveragePool()
        self.head = nn.Linear(last, num_classes)
        init_convolutions(self)
        init_classifier(self.head)


def stage(
    in_channels: int, groups: tuple[tuple[int, int, int, int], ...], width: float
) -> nn.Sequential:
    """The blocks of some groups; the first one of each group changes the shape."""
    blocks = []
    for expansion, base, count, stride in groups:
        out_channels = scaled(base, width)
        for number in range(count):
            first_stride = stride if number == 0 else 1
            blocks.append(InvertedResidual(in_channels, out_channels, first_stride, expansion))
            in_channels = out_channels
    return nn.Sequential(*blocks)
