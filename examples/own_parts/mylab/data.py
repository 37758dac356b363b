"""A data set: grey images of stripes, whose classes are the directions of the stripes."""

import math

import torch
from torch import Tensor

from kdsweep import LabelledImages, SourceData


class Stripes:
    """Made by a formula and noise, so that there is nothing to download.

    A source has a name, `load` and `digest`. What it reads from files should be in the digest,
    by which kdsweep knows that runs have the same images.
    """

    name = "stripes"

    def __init__(
        self, num_train: int = 800, num_test: int = 200, size: int = 12, noise: float = 0.6
    ) -> None:
        self.num_train, self.num_test, self.size, self.noise = num_train, num_test, size, noise

    def load(self) -> SourceData:
        """uint8 images (N, 1, size, size) and int64 labels (N,)."""
        return SourceData(
            train=self._images(self.num_train, seed=0),
            test=self._images(self.num_test, seed=1),
            class_names=("horizontal", "rising", "vertical", "falling"),
        )

    def digest(self) -> str:
        """Constant: the images follow from the arguments, which are in the config."""
        return "stripes"

    def _images(self, count: int, seed: int) -> LabelledImages:
        generator = torch.Generator().manual_seed(seed)
        labels = torch.arange(count) % 4
        angle = math.pi / 4 * labels[:, None, None]
        row, column = torch.meshgrid(*[torch.arange(self.size)] * 2, indexing="ij")
        phase = 2 * math.pi * torch.rand(count, 1, 1, generator=generator)
        waves = (torch.cos(angle) * row + torch.sin(angle) * column) * 1.5 + phase
        noise = self.noise * torch.randn(waves.shape, generator=generator)
        pixels: Tensor = (0.5 + 0.25 * (torch.sin(waves) + noise)).clamp(0, 1) * 255
        return LabelledImages(pixels.round().to(torch.uint8).unsqueeze(1), labels)
