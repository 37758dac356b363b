"""Random brightness, contrast, saturation and hue, in a random order for each image.

Equals torchvision's ``ColorJitter`` on images of Pillow for the same factors and order.

Shapes: n images in total, R operations on an image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from kdsweep.common.validation import is_finite_number, require
from kdsweep.data.pipeline import image_operations as operations
from kdsweep.data.pipeline.drawn_operations import DrawnOperations
from kdsweep.data.pipeline.image_operations import Operation

# In the order of torchvision's arguments.
JITTER_OPERATIONS: tuple[Operation, ...] = (
    operations.brightness,
    operations.contrast,
    operations.color,
    operations.hue,
)
HUE = JITTER_OPERATIONS.index(operations.hue)
KEY = "dataset.augment.color_jitter"
ALLOWED = (
    "null, a number >= 0, or [brightness, contrast, saturation] or with hue, which is at most 0.5"
)


@dataclass(frozen=True)
class ColorJitter:
    """Factors are uniform in [max(0, 1 - x), 1 + x], the turn of the hue in [-x, x]; 0: off."""

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    @classmethod
    def of(cls, strength: float | Sequence[float] | None) -> Self | None:
        """With one number for brightness, contrast and saturation, as timm's; or three or four.

        None where nothing is on. Raises ValueError for anything else.
        """
        if strength is None:
            return None
        listed: Any = [strength] * 3 if is_finite_number(strength) else strength
        is_list = isinstance(listed, Sequence) and not isinstance(listed, str)
        is_known = is_list and len(listed) in (3, 4) and all(map(is_finite_number, listed))
        is_known = is_known and min(listed) >= 0 and max([0.0, *listed[3:]]) <= 0.5
        require(is_known, KEY, ALLOWED, strength)
        made = cls(*map(float, listed))
        return made if made._on else None

    @property
    def _on(self) -> list[tuple[int, float]]:
        """Positions of the operations that are on, and their strengths."""
        strengths = (self.brightness, self.contrast, self.saturation, self.hue)
        return [(place, strength) for place, strength in enumerate(strengths) if strength > 0]

    def draw(self, n: int, generator: torch.Generator) -> DrawnOperations:
        """For n images, positions in JITTER_OPERATIONS with factors, on the CPU."""
        drawn = [self._values(n, *one, generator) for one in self._on]
        places = torch.tensor([place for place, _ in self._on])
        order = torch.rand(n, len(drawn), generator=generator).argsort(1)
        return DrawnOperations(places[order], torch.stack(drawn, 1).gather(1, order))

    def _values(self, n: int, place: int, strength: float, generator: torch.Generator) -> Tensor:
        low, high = (-strength, strength) if place == HUE else (max(0, 1 - strength), 1 + strength)
        return low + (high - low) * torch.rand(n, generator=generator, dtype=torch.float64)
