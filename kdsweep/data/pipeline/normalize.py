"""Pixels to the numbers that networks are given, in training and afterwards."""

from collections.abc import Sequence

import torch
from torch import Tensor


class Normalize:
    """uint8 pixels (B, channels, H, W) -> float32 (pixels / 255 - mean) / std.

    ``mean`` and ``std``: one number per channel, in units of [0, 1] pixels.
    """

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], device: torch.device | str = "cpu"
    ) -> None:
        per_channel = [torch.tensor(list(given), dtype=torch.float64) for given in (mean, std)]
        center, spread = (values.view(-1, 1, 1) for values in per_channel)
        self._scale = (1 / (255 * spread)).float().to(device)
        self._shift = (-center / spread).float().to(device)

    def __call__(self, pixels: Tensor) -> Tensor:
        return pixels.float().mul_(self._scale).add_(self._shift)
