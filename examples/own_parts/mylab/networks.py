"""A network: an ordinary nn.Module, images in, logits out."""

from torch import Tensor, nn


class TinyNet(nn.Module):
    """Two convolutions; `body`, a map, and `pool`, a vector, are features that losses can read.

    kdsweep gives `in_channels` and `num_classes`, which follow from the images, because they are in
    the signature; the other arguments are keys of the config.
    """

    def __init__(self, in_channels: int, num_classes: int, width: int = 8) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}")
        self.body = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """(B, channels, H, W) -> logits (B, C)."""
        logits: Tensor = self.head(self.pool(self.body(images)))
        return logits
