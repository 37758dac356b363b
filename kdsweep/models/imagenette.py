"""Two students for Imagenette at 224x224, whose stages have the shapes of ResNet34's.

They are those of IvLabs/stagewise-knowledge-distillation, where the student's five maps match those
of the teacher after its stem and its four stages. There is no ReLU between their two linear layers.
"""

import torch
from torch import Tensor, nn

from kdsweep.models.components.blocks import scaled
from kdsweep.models.components.checks import Shape, check_multiplier, check_task


class PlainNet(nn.Sequential):
    """Five times convolution 3x3 and max-pool, without ReLU: the max-pools are the nonlinearity.

    ``width`` multiplies channels and hidden units. The first linear layer takes the flattened maps,
    so the images' size is part of the model. Features, at width 1: ``stage1`` (B, 64, H/2, W/2),
    ``stage2`` (B, 64, H/4, W/4), ``stage3`` (B, 128, H/8, W/8), ``stage4`` (B, 256, H/16, W/16),
    ``stage5`` (B, 512, H/32, W/32), ``flatten`` (B, 512 * H/32 * W/32) and ``hidden`` (B, 512).
    """

    def __init__(self, in_shape: Shape, num_classes: int, width: float = 1.0) -> None:
        super().__init__()
        check_task(in_shape, num_classes, "imagenette_plain", smallest=32)
        check_multiplier(width)
        channels, height, breadth = in_shape
        widths = [scaled(base, width) for base in (64, 64, 128, 256, 512)]
        self.stage1 = conv_max(channels, widths[0])
        self.stage2 = conv_max(widths[0], widths[1])
        self.stage3 = conv_max(widths[1], widths[2])
        self.stage4 = conv_max(widths[2], widths[3])
        self.stage5 = conv_max(widths[3], widths[4])
        self.flatten = nn.Flatten()
        self.hidden = nn.Linear(widths[4] * (height // 32) * (breadth // 32), widths[4])
        self.head = nn.Linear(widths[4], num_classes)


class ResidualNet(nn.Sequential):
    """A stem, four stages of a convolution and a residual block, average and maximum concatenated.

    ``width`` multiplies channels and hidden units. Features, at width 1: ``stem``
    (B, 64, H/2, W/2), ``stage1`` (B, 64, H/4, W/4), ``stage2`` (B, 128, H/8, W/8), ``stage3``
    (B, 256, H/16, W/16), ``stage4`` (B, 512, H/32, W/32), ``pool`` (B, 1024), ``hidden`` (B, 256).
    """

    def __init__(self, in_shape: Shape, num_classes: int, width: float = 1.0) -> None:
        super().__init__()
        check_task(in_shape, num_classes, "imagenette_residual", smallest=32)
        check_multiplier(width)
        first, second, third, fourth = (scaled(base, width) for base in (64, 128, 256, 512))
        hidden = scaled(256, width)
        self.stem = conv_relu_bn(in_shape[0], first, kernel_size=7, stride=2)
        self.halve = nn.MaxPool2d(3, stride=2, padding=1)
        self.stage1 = conv_and_residual(first, first, stride=1)
        self.stage2 = conv_and_residual(first, second, stride=2)
        self.stage3 = conv_and_residual(second, third, stride=2)
        self.stage4 = conv_and_residual(third, fourth, stride=2)
        self.pool = AverageAndMaximum()
        self.hidden = nn.Linear(2 * fourth, hidden)
        self.head = nn.Linear(hidden, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)


class Residual(nn.Module):
    """One convolution with ReLU and BatchNorm, added to its input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = conv_relu_bn(channels, channels)

    def forward(self, maps: Tensor) -> Tensor:
        out: Tensor = maps + self.conv(maps)
        return out


class AverageAndMaximum(nn.Module):
    """Mean and maximum over all positions: (B, channels, H, W) -> (B, 2 channels)."""

    def forward(self, maps: Tensor) -> Tensor:
        return torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)


def conv_max(in_channels: int, out_channels: int) -> nn.Sequential:
    """Convolution 3x3 and a max-pool that halves H and W."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1), nn.MaxPool2d(2)
    )


def conv_relu_bn(
    in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1
) -> nn.Sequential:
    """Convolution, ReLU and BatchNorm in this order, as in fastai."""
    return nn.Sequential(
        nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False
        ),
        nn.ReLU(),
        nn.BatchNorm2d(out_channels),
    )


def conv_and_residual(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """A convolution that changes the shape, then a residual block."""
    return nn.Sequential(
        conv_relu_bn(in_channels, out_channels, stride=stride), Residual(out_channels)
    )
