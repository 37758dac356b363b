"""An augmentation of training images: a change of brightness."""

import torch
from torch import Tensor


class Brightness:
    """Adds a number to all pixels of an image, drawn evenly from -strength to strength."""

    def __init__(self, strength: int = 20) -> None:
        if not 0 <= strength <= 255:
            raise ValueError(f"strength must be from 0 to 255, got {strength}")
        self.strength = strength

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """uint8 (B, channels, H, W) -> the same. All that is random comes from the generator."""
        limits = (-self.strength, self.strength + 1)
        drawn = torch.randint(*limits, (len(images), 1, 1, 1), generator=generator)
        change = drawn.to(images.device, non_blocking=True)
        return (images.int() + change).clamp(0, 255).to(torch.uint8)
