"""Layers that several families of convolutional networks share."""

from collections.abc import Callable

from torch import Tensor, nn


class GlobalAveragePool(nn.Module):
    """Mean over all positions: (B, channels, H, W) -> (B, channels).

    A plain mean, because the backward pass of adaptive pooling is not deterministic on CUDA.
    """

    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean(dim=(2, 3))


class ChannelShuffle(nn.Module):
    """Interleave the groups' channels: 0 1 2 3 4 5 in 2 groups becomes 0 3 1 4 2 5."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, maps: Tensor) -> Tensor:
        shuffled: Tensor = maps.unflatten(1, (self.groups, -1)).transpose(1, 2)
        return shuffled.flatten(1, 2)


def scaled(channels: int, width: float, multiple: int = 1) -> int:
    """``channels`` times ``width``, rounded to a multiple of ``multiple`` and at least that."""
    return max(1, round(channels * width / multiple)) * multiple


def conv_bn(
    in_channels: int,
    out_channels: int,
    kernel_size: int = 3,
    *,
    stride: int = 1,
    groups: int = 1,
    bias: bool = False,
) -> nn.Sequential:
    """Convolution that keeps H and W (except for the stride), then BatchNorm.

    ``bias`` is redundant before BatchNorm; it exists for parameter counts and checkpoints equal to
    those of the published models.
    """
    convolution = nn.Conv2d(
        in_channels,
        out_channels,
        kernel_size,
        stride,
        padding=kernel_size // 2,
        groups=groups,
        bias=bias,
    )
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels))


def conv_bn_relu(
    in_channels: int,
    out_channels: int,
    kernel_size: int = 3,
    *,
    stride: int = 1,
    groups: int = 1,
    bias: bool = False,
) -> nn.Sequential:
    """`conv_bn`, then ReLU."""
    layers = conv_bn(
        in_channels, out_channels, kernel_size, stride=stride, groups=groups, bias=bias
    )
    return layers.append(nn.ReLU())


def shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """The shortcut of a residual branch: identity, or a 1x1 convolution to the new shape."""
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return conv_bn(in_channels, out_channels, kernel_size=1, stride=stride)


def stage(
    block: Callable[[int, int, int], nn.Module],
    in_channels: int,
    out_channels: int,
    blocks: int,
    stride: int,
) -> nn.Sequential:
    """``blocks`` blocks, each ``block(in_channels, out_channels, stride)``; the first one changes
    the shape."""
    first = block(in_channels, out_channels, stride)
    return nn.Sequential(first, *(block(out_channels, out_channels, 1) for _ in range(blocks - 1)))


def init_convolutions(model: nn.Module) -> None:
    """He et al. 2015 (arXiv 1502.01852): normal with variance 2 / fan_out, biases zero."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def init_classifier(layer: nn.Linear) -> None:
    """Normal with standard deviation 0.01, bias zero: of VGG and MobileNetV2 in RepDistiller,
    mdistiller and torchvision."""
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
