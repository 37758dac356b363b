"""ResNet18 and ResNet34 of He et al. 2016 (arXiv 1512.03385, table 1), for small images.

As in yzd-v/cls_KD's experiments on CIFAR-100 (mmcls' ``ResNet_CIFAR``): a stem of one 3x3
convolution, without the max-pool, keeps the size of the images; each block begins as its shortcut,
because the scale of its last BatchNorm is 0 (Goyal et al. 2017, arXiv 1706.02677, section 5.1);
the classifier is drawn with standard deviation 0.01.
"""

from torch import nn

from kdsweep.common.validation import require
from kdsweep.models.cifar_resnet import BasicBlock
from kdsweep.models.components.blocks import (
    GlobalAveragePool,
    conv_bn_relu,
    init_classifier,
    init_convolutions,
    scaled,
    stage,
)
from kdsweep.models.components.checks import Shape, check_multiplier, check_task

# Blocks per stage.
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
CHANNELS = (64, 128, 256, 512)


class BasicResNet(nn.Sequential):
    """ResNet of ``depth`` 18 or 34; ``width`` multiplies the channels.

    Features, at width 1: ``stem`` and ``stage1`` (B, 64, H, W), ``stage2`` (B, 128, H/2, W/2),
    ``stage3`` (B, 256, H/4, W/4), ``stage4`` (B, 512, H/8, W/8), ``pool`` (B, 512), and any block,
    ``stage2.0``.
    """

    def __init__(
        self, in_shape: Shape, num_classes: int, depth: int = 18, width: float = 1.0
    ) -> None:
        super().__init__()
        check_multiplier(width)
        require(depth in BLOCKS, "depth", f"one of {sorted(BLOCKS)}", depth)
        check_task(in_shape, num_classes, f"resnet{depth}", smallest=8)
        first, second, third, fourth = (scaled(base, width) for base in CHANNELS)
        blocks = BLOCKS[depth]
        self.stem = conv_bn_relu(in_shape[0], first)
        self.stage1 = stage(BasicBlock, first, first, blocks[0], stride=1)
        self.stage2 = stage(BasicBlock, first, second, blocks[1], stride=2)
        self.stage3 = stage(BasicBlock, second, third, blocks[2], stride=2)
        self.stage4 = stage(BasicBlock, third, fourth, blocks[3], stride=2)
        self.pool = GlobalAveragePool()
        self.head = nn.Linear(fourth, num_classes)
        self._init()

    def _init(self) -> None:
        init_convolutions(self)
        for module in self.modules():
            if isinstance(module, BasicBlock):
                nn.init.zeros_(module.bn2.weight)
        init_classifier(self.head)
