"""A small convolutional network for images from 8x8 to 32x32, the default teacher on digits."""

from torch import Tensor, nn

from kdsweep.common.validation import check_fraction
from kdsweep.models.components.blocks import GlobalAveragePool, conv_bn_relu, init_convolutions
from kdsweep.models.components.checks import Shape, check_task, check_units


class CNN(nn.Module):
    """Three stages of ``width``, 2 ``width`` and 4 ``width`` channels, a max-pool before the last.

    Features: ``stage1`` (B, width, H, W), ``stage2`` (B, 2 width, H, W), ``stage3``
    (B, 4 width, H/2, W/2) and ``pool`` (B, 4 width), taken before dropout. A second max-pool,
    after ``stage1``, would halve the time and cost about 0.14 points of accuracy on digits
    (standard error 0.06, 16 splits).
    """

    def __init__(
        self, in_shape: Shape, num_classes: int, width: int = 32, dropout: float = 0.0
    ) -> None:
        super().__init__()
        check_task(in_shape, num_classes, "cnn", smallest=2)
        check_units(width)
        check_fraction("dropout", dropout, one=False)
        self.stage1 = conv_bn_relu(in_shape[0], width, bias=False)
        self.stage2 = conv_bn_relu(width, 2 * width, bias=False)
        self.stage3 = conv_bn_relu(2 * width, 4 * width, bias=False)
        self.halve = nn.MaxPool2d(2)
        self.pool = GlobalAveragePool()
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(4 * width, num_classes)
        init_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        """(B, channels, H, W) -> logits (B, C)."""
        maps = self.stage2(self.stage1(images))
        maps = self.stage3(self.halve(maps))
        logits: Tensor = self.head(self.dropout(self.pool(maps)))
        return logits
