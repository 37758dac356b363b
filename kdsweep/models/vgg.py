"""VGG for CIFAR: the convolutions of Simonyan and Zisserman 2015 (arXiv 1409.1556), each with
BatchNorm, and one linear layer in place of their three."""

from torch import Tensor, nn

from kdsweep.models.blocks import GlobalAveragePool, conv_bn_relu, initialise_convolutions
from kdsweep.models.checks import Shape, check_image_size, check_multiplier, check_task

# Channels of the convolutions, stage by stage; a max-pool ends each stage.
STAGES: dict[int, tuple[tuple[int, ...], ...]] = {
    16: ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)),
}


class VGG(nn.Module):
    """VGG of ``depth`` 16: thirteen convolutions, five max-pools, one linear layer.

    ``width`` multiplies the channels. Features, before each max-pool and at width 1: ``stage1``
    (B, 64, H, W), ``stage2`` (B, 128, H/2, W/2), ``stage3`` (B, 256, H/4, W/4), ``stage4``
    (B, 512, H/8, W/8), ``stage5`` (B, 512, H/16, W/16), ``pool`` (B, 512), and any convolution
    with its BatchNorm and ReLU, ``stage3.1``.
    """

    def __init__(
        self, in_shape: Shape, num_classes: int, depth: int = 16, width: float = 1.0
    ) -> None:
        super().__init__()
        check_task(in_shape, num_classes)
        check_multiplier(width)
        if depth not in STAGES:
            raise ValueError(f"depth must be one of {sorted(STAGES)}, got {depth!r}")
        check_image_size(f"vgg{depth}", in_shape, smallest=2 ** len(STAGES[depth]))
        channels = in_shape[0]
        self.num_stages = len(STAGES[depth])
        for number, bases in enumerate(STAGES[depth], start=1):
            widths = [max(1, round(base * width)) for base in bases]
            self.add_module(f"stage{number}", stage(channels, widths))
            channels = widths[-1]
        self.halve = nn.MaxPool2d(2)
        self.pool = GlobalAveragePool()  # of 1x1 maps at 32x32, so larger images work too
        self.head = nn.Linear(channels, num_classes)
        initialise_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        """(B, channels, H, W) -> logits (B, C)."""
        maps = images
        for number in range(1, self.num_stages + 1):
            maps = self.halve(self.get_submodule(f"stage{number}")(maps))
        logits: Tensor = self.head(self.pool(maps))
        return logits


def stage(in_channels: int, widths: list[int]) -> nn.Sequential:
    """Convolutions at one resolution, each with BatchNorm and ReLU."""
    inputs = [in_channels, *widths[:-1]]
    return nn.Sequential(
        *(conv_bn_relu(*pair, bias=True) for pair in zip(inputs, widths, strict=True))
    )
