"""VGG for CIFAR: the convolutions of Simonyan and Zisserman 2015 (arXiv 1409.1556), each with
BatchNorm, and one linear layer in place of their three.

There are two forms. KD-pytorch's has the paper's five max-pools, and PyTorch's default
initialisation. That of the CIFAR-100 distillation tables (RepDistiller, mdistiller) has three, so
that its last two stages work on maps of 4x4, an average at the end, and the initialisation of
He et al. 2015; vgg8, with one convolution per stage, is from there.
"""

from typing import Literal, get_args

from torch import Tensor, nn

from kdsweep.common.validation import check_option, require
from kdsweep.models.components.blocks import (
    GlobalAveragePool,
    conv_bn_relu,
    init_classifier,
    init_convolutions,
    scaled,
)
from kdsweep.models.components.checks import Shape, check_multiplier, check_task

# Convolutions per stage by depth, and their channels.
CONVOLUTIONS = {
    8: (1, 1, 1, 1, 1),
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
CHANNELS = (64, 128, 256, 512, 512)
Init = Literal["pytorch", "he"]


class VGG(nn.Module):
    """VGG of ``depth`` 8, 11, 13, 16 or 19: convolutions in five stages, one linear layer.

    ``width`` multiplies the channels; the first ``max_pools`` stages, 1 to 5, end in a max-pool.
    Features, before the max-pool, at width 1 and with five of them: ``stage1`` (B, 64, H, W),
    ``stage2`` (B, 128, H/2, W/2), ``stage3`` (B, 256, H/4, W/4), ``stage4`` (B, 512, H/8, W/8),
    ``stage5`` (B, 512, H/16, W/16), ``pool`` (B, 512), and any convolution with its BatchNorm and
    ReLU, ``stage3.1``. The distillation tables call them f0 to f5.

    ``init``: "pytorch", the default initialisation of PyTorch's layers; or "he", convolutions as
    in `init_convolutions` and the linear layer as in `init_classifier`, as in the distillation
    tables.
    """

    def __init__(
        self,
        in_shape: Shape,
        num_classes: int,
        depth: int = 16,
        width: float = 1.0,
        max_pools: int = 5,
        init: Init = "pytorch",
    ) -> None:
        super().__init__()
        check_multiplier(width)
        require(depth in CONVOLUTIONS, "depth", f"one of {sorted(CONVOLUTIONS)}", depth)
        allowed = range(1, len(CHANNELS) + 1)
        require(max_pools in allowed, "max_pools", f"from 1 to {len(CHANNELS)}", max_pools)
        check_option("init", init, get_args(Init))
        check_task(in_shape, num_classes, f"vgg{depth}", smallest=2**max_pools)
        self.max_pools = max_pools
        channels = in_shape[0]
        for number, (base, count) in enumerate(
            zip(CHANNELS, CONVOLUTIONS[depth], strict=True), start=1
        ):
            widths = [scaled(base, width)] * count
            self.add_module(f"stage{number}", stage(channels, widths))
            channels = widths[-1]
        self.halve = nn.MaxPool2d(2)
        self.pool = GlobalAveragePool()
        self.head = nn.Linear(channels, num_classes)
        if init == "he":
            init_convolutions(self)
            init_classifier(self.head)

    def forward(self, images: Tensor) -> Tensor:
        """(B, channels, H, W) -> logits (B, C)."""
        maps = images
        for number in range(1, len(CHANNELS) + 1):
            maps = self.get_submodule(f"stage{number}")(maps)
            if number <= self.max_pools:
                maps = self.halve(maps)
        logits: Tensor = self.head(self.pool(maps))
        return logits


def stage(in_channels: int, widths: list[int]) -> nn.Sequential:
    """Convolutions at one resolution, each with BatchNorm and ReLU."""
    inputs = [in_channels, *widths[:-1]]
    return nn.Sequential(
        *(conv_bn_relu(*pair, bias=True) for pair in zip(inputs, widths, strict=True))
    )
