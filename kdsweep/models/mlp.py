"""A perceptron with two hidden layers: the default student on digits."""

from torch import Tensor, nn

from kdsweep.common.validation import check_fraction
from kdsweep.models.components.checks import Shape, check_task, check_units


class MLP(nn.Module):
    """Two hidden layers of ``width`` ReLU units, then a linear layer.

    Features: ``hidden1`` and ``hidden2``, each (B, width), taken before dropout.
    """

    def __init__(
        self, in_shape: Shape, num_classes: int, width: int = 64, dropout: float = 0.0
    ) -> None:
        super().__init__()
        check_task(in_shape, num_classes)
        check_units(width)
        check_fraction("dropout", dropout, one=False)
        channels, height, breadth = in_shape
        self.flatten = nn.Flatten()
        self.hidden1 = nn.Sequential(nn.Linear(channels * height * breadth, width), nn.ReLU())
        self.hidden2 = nn.Sequential(nn.Linear(width, width), nn.ReLU())
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """(B, channels, H, W) -> logits (B, C)."""
        hidden = self.dropout(self.hidden1(self.flatten(images)))
        hidden = self.dropout(self.hidden2(hidden))
        logits: Tensor = self.head(hidden)
        return logits
