"""The student of JoonyoungYi/KD-pytorch: four convolutions of 64 channels (three in its README,
four in its code). Weights have PyTorch's default initialisation, as there."""

from torch import Tensor, nn

from kdsweep.models.components.blocks import conv_bn_relu
from kdsweep.models.components.checks import Shape, check_task, check_units


class ConvNet4(nn.Module):
    """Four times convolution 3x3, BatchNorm, ReLU and max-pool, then one linear layer.

    The linear layer takes the flattened maps, so the images' size is part of the model. Features,
    before each max-pool: ``stage1`` (B, width, H, W), ``stage2`` (B, width, H/2, W/2), ``stage3``
    (B, width, H/4, W/4), ``stage4`` (B, width, H/8, W/8); ``flatten`` (B, width * H/16 * W/16).
    """

    def __init__(self, in_shape: Shape, num_classes: int, width: int = 64) -> None:
        super().__init__()
        check_task(in_shape, num_classes, "convnet4", smallest=16)
        check_units(width)
        channels, height, breadth = in_shape
        self.stage1 = conv_bn_relu(channels, width, bias=True)
        self.stage2 = conv_bn_relu(width, width, bias=True)
        self.stage3 = conv_bn_relu(width, width, bias=True)
        self.stage4 = conv_bn_relu(width, width, bias=True)
        self.halve = nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(width * (height // 16) * (breadth // 16), num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """(B, channels, H, W) -> logits (B, C)."""
        maps = self.halve(self.stage1(images))
        maps = self.halve(self.stage2(maps))
        maps = self.halve(self.stage3(maps))
        maps = self.halve(self.stage4(maps))
        logits: Tensor = self.head(self.flatten(maps))
        return logits
