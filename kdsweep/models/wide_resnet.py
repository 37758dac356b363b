"""Wide residual networks: Zagoruyko and Komodakis 2016, arXiv 1605.07146, without dropout.

The initialisation is RepDistiller's and mdistiller's: that of He et al. 2015, and a classifier with
PyTorch's default weights and bias zero.
"""

from torch import Tensor, nn

from kdsweep.common.validation import require
from kdsweep.models.components.blocks import GlobalAveragePool, init_convolutions, scaled, stage
from kdsweep.models.components.checks import Shape, check_multiplier, check_task

STEM_CHANNELS = 16


class PreActivationBlock(nn.Module):
    """Twice BatchNorm, ReLU and convolution 3x3, added to the input.

    Where the shape changes, the activated input is passed through a 1x1 convolution instead.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.shortcut: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        active = self.relu1(self.bn1(maps))
        residual: Tensor = self.conv2(self.relu2(self.bn2(self.conv1(active))))
        return residual + (maps if self.shortcut is None else self.shortcut(active))


class WideResNet(nn.Sequential):
    """WRN of ``depth`` = 6n + 4 layers (10, 16, ..., 40, ...) and ``width``, as in WRN-16-2.

    ``width`` multiplies the 16, 32 and 64 channels of the stages, not the 16 of the stem.
    Features, at width 2: ``stem`` (B, 16, H, W), ``stage1`` (B, 32, H, W), ``stage2``
    (B, 64, H/2, W/2), ``stage3`` (B, 128, H/4, W/4), ``pool`` (B, 128), and any block,
    ``stage2.0``. The stages' maps are those before BatchNorm and ReLU, as in the distillation
    tables, which call them f0, f1, f2, f3 and f4.
    """

    def __init__(
        self, in_shape: Shape, num_classes: int, depth: int = 16, width: float = 2.0
    ) -> None:
        super().__init__()
        check_multiplier(width)
        require(depth in range(10, 101, 6), "depth", "6n + 4 from 10 to 100", depth)
        check_task(in_shape, num_classes, "wide_resnet", smallest=4)
        blocks = (depth - 4) // 6
        first, second, third = (scaled(base, width) for base in (16, 32, 64))
        self.stem = nn.Conv2d(in_shape[0], STEM_CHANNELS, 3, padding=1, bias=False)
        self.stage1 = stage(PreActivationBlock, STEM_CHANNELS, first, blocks, stride=1)
        self.stage2 = stage(PreActivationBlock, first, second, blocks, stride=2)
        self.stage3 = stage(PreActivationBlock, second, third, blocks, stride=2)
        self.last = nn.Sequential(nn.BatchNorm2d(third), nn.ReLU())
        self.pool = GlobalAveragePool()
        self.head = nn.Linear(third, num_classes)
        init_convolutions(self)
        nn.init.zeros_(self.head.bias)
