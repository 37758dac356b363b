"""Images for tests of augmentation."""

import torch
from torch import Tensor

SIZE = (40, 52)


def pictures(count: int, channels: int = 3) -> Tensor:
    """Smooth images with noise, of several brightnesses: uint8 (count, channels, *SIZE)."""
    generator = torch.Generator().manual_seed(0)
    rows, columns = torch.meshgrid(*map(torch.arange, SIZE), indexing="ij")
    phase = torch.rand(count, channels, 1, 1, generator=generator) * 6
    waves = (rows / 7 + phase).sin() + (columns / 9 - phase).cos()
    noise = torch.randint(-40, 40, (count, channels, *SIZE), generator=generator)
    return (128 + 50 * waves + noise).clamp(0, 255).byte()
