"""Teacher and student of PyTorch's tutorial on knowledge distillation: no BatchNorm, two linear
layers on the flattened maps. At 32x32 and 10 classes they have 1,186,986 and 267,738 parameters."""

from collections.abc import Sequence

from torch import nn

from kdsweep.common.validation import check_fraction
from kdsweep.models.components.blocks import scaled
from kdsweep.models.components.checks import Shape, check_multiplier, check_task


class TutorialNet(nn.Sequential):
    """Two stages of convolutions, each ending in a max-pool, then two linear layers.

    Args:
        stages: channels of the convolutions of each stage, before ``width`` multiplies them.
        hidden: units of the first linear layer, likewise.
    """

    def __init__(
        self,
        in_shape: Shape,
        num_classes: int,
        width: float,
        dropout: float,
        stages: tuple[Sequence[int], Sequence[int]],
        hidden: int,
    ) -> None:
        super().__init__()
        check_task(in_shape, num_classes, type(self).__name__.lower(), smallest=4)
        check_multiplier(width)
        check_fraction("dropout", dropout, one=False)
        channels, height, breadth = in_shape
        first, second = ([scaled(base, width) for base in bases] for bases in stages)
        units = scaled(hidden, width)
        self.stage1 = stage(channels, first)
        self.stage2 = stage(first[-1], second)
        self.flatten = nn.Flatten()
        self.hidden = nn.Sequential(
            nn.Linear(second[-1] * (height // 4) * (breadth // 4), units), nn.ReLU()
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(units, num_classes)


class DeepNN(TutorialNet):
    """The tutorial's teacher: convolutions of 128, 64, 64 and 32 channels, 512 hidden units.

    ``width`` multiplies channels and units. Features, at width 1: ``stage1`` (B, 64, H/2, W/2),
    ``stage2`` (B, 32, H/4, W/4), ``flatten`` (B, 32 * H/4 * W/4) and ``hidden`` (B, 512).
    """

    def __init__(
        self, in_shape: Shape, num_classes: int, width: float = 1.0, dropout: float = 0.1
    ) -> None:
        stages = ((128, 64), (64, 32))
        super().__init__(in_shape, num_classes, width, dropout, stages, hidden=512)


class LightNN(TutorialNet):
    """The tutorial's student: two convolutions of 16 channels, 256 hidden units.

    ``width`` multiplies channels and units. Features, at width 1: ``stage1`` (B, 16, H/2, W/2),
    ``stage2`` (B, 16, H/4, W/4), ``flatten`` (B, 16 * H/4 * W/4) and ``hidden`` (B, 256).
    """

    def __init__(
        self, in_shape: Shape, num_classes: int, width: float = 1.0, dropout: float = 0.1
    ) -> None:
        stages = ((16,), (16,))
        super().__init__(in_shape, num_classes, width, dropout, stages, hidden=256)


def stage(in_channels: int, widths: Sequence[int]) -> nn.Sequential:
    """Convolutions 3x3, each with ReLU, then a max-pool."""
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Conv2d(in_channels, width, kernel_size=3, padding=1), nn.ReLU()]
        in_channels = width
    return nn.Sequential(*layers, nn.MaxPool2d(2))
