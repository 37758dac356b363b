"""Synthetic images that can be learned, for trials and tests, without any file."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from kdsweep.common.rng import derive
from kdsweep.common.validation import check_whole, require
from kdsweep.data.types import LabelledImages, SourceData

COARSE = 4  # prototypes are interpolated from 4 x 4 values, so that crops and flips keep them


class Fake:
    """One smooth random prototype per class, plus noise drawn for each image.

    Args:
        num_train: training images, with the classes in turn.
        num_test: test images.
        num_classes: at least 2.
        shape: (channels, H, W).
        noise: standard deviation of the noise in units of [0, 1] pixels; 0: only prototypes.
        seed: of prototypes and noise, not of the split (dataset.split_seed).
    """

    name = "fake"

    def __init__(
        self,
        num_train: int = 1000,
        num_test: int = 200,
        num_classes: int = 10,
        shape: Sequence[int] = (3, 32, 32),
        noise: float = 0.2,
        seed: int = 0,
    ) -> None:
        check_whole("dataset.source.num_classes", num_classes, least=2)
        check_whole("dataset.source.num_train", num_train, least=num_classes)
        check_whole("dataset.source.num_test", num_test, least=1)
        require(len(shape) == 3, "dataset.source.shape", "[channels, H, W]", shape)
        for length in shape:
            check_whole("dataset.source.shape", length, least=1)
        is_finite = 0 <= noise < float("inf")
        require(is_finite, "dataset.source.noise", "a finite number >= 0", noise)
        self.num_train, self.num_test, self.num_classes = num_train, num_test, num_classes
        self.shape, self.noise, self.seed = tuple(shape), noise, seed

    @property
    def class_names(self) -> tuple[str, ...]:
        """Their numbers as names."""
        return tuple(f"class {label}" for label in range(self.num_classes))

    def load(self) -> SourceData:
        """Generate the images."""
        channels, height, width = self.shape
        coarse = torch.rand(
            self.num_classes, channels, COARSE, COARSE, generator=self._generator("prototypes")
        )
        prototypes = F.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)
        return SourceData(
            self._labelled(prototypes, self.num_train, "train"),
            self._labelled(prototypes, self.num_test, "test"),
            self.class_names,
        )

    def digest(self) -> str:
        """Constant: the content follows from the arguments, which are in the config."""
        return "fake"

    def _labelled(self, prototypes: Tensor, count: int, part: str) -> LabelledImages:
        """Images of the classes in turn; the prototypes (C, channels, H, W) are in [0, 1]."""
        labels = torch.arange(count) % self.num_classes
        noise = torch.randn(count, *self.shape, generator=self._generator(part)) * self.noise
        pixels = ((prototypes[labels] + noise) * 255).round().clamp(0, 255)
        return LabelledImages(pixels.to(torch.uint8), labels)

    def _generator(self, name: str) -> torch.Generator:
        return torch.Generator().manual_seed(derive("fake", name, self.seed))
