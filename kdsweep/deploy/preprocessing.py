"""From an image of any kind to what a network is given: the same as in evaluation during training.

Images are decoded, turned upright, resized and normalised by the functions that read data sets.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from kdsweep.common.validation import (
    check_option,
    check_positive,
    is_finite_number,
    is_integer,
    require,
)
from kdsweep.data.images.encoded import ImageFormat, decode_opened
from kdsweep.data.pipeline.normalize import Normalize
from kdsweep.data.pipeline.split import Dataset
from kdsweep.deploy.images import ImageLike, opened

INTERPOLATION = "bilinear"  # Pillow's, which averages over all pixels when it makes images smaller


@dataclass(frozen=True)
class Preprocessing:
    """How a network's images are prepared.

    Attributes:
        channels: 3 makes every image RGB, 1 grey; alpha is dropped.
        image_size: (H, W).
        mean, std: per channel, in units of [0, 1] pixels.
        crop: images of other proportions are cropped around their centre, not stretched.
        white: the value that becomes 255 in images of more than 8 bits a channel; None: 65535 of 16
            bits, 1 of floating-point numbers.
        draft: large JPEG files are decoded at a fraction of their size, as in training.
        interpolation: always `bilinear`.
        antialias: always true.
    """

    channels: int
    image_size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: bool = False
    white: float | None = None
    draft: bool = False
    interpolation: str = INTERPOLATION
    antialias: bool = True

    def __post_init__(self) -> None:
        """Raises ValueError for values that this version cannot compute."""
        is_known = is_integer(self.channels) and self.channels in (1, 3)
        require(is_known, "preprocessing.channels", "1 or 3", self.channels)
        check_numbers("preprocessing.mean", self.mean, self.channels)
        check_numbers("preprocessing.std", self.std, self.channels)
        require(min(self.std) > 0, "preprocessing.std", "above 0", self.std)
        is_size = _is_size(self.image_size)
        require(is_size, "preprocessing.image_size", "[H, W]", self.image_size)
        for name in ("crop", "draft"):
            value = getattr(self, name)
            require(isinstance(value, bool), f"preprocessing.{name}", "true or false", value)
        if self.white is not None:
            check_positive("preprocessing.white", self.white)
        check_option("preprocessing.interpolation", self.interpolation, (INTERPOLATION,))
        require(self.antialias is True, "preprocessing.antialias", "true", self.antialias)

    @classmethod
    def of(cls, dataset: Dataset) -> Self:
        """The preprocessing of a data set."""
        channels, height, width = dataset.image_shape
        mean, std = tuple(dataset.mean), tuple(dataset.std)
        return cls(channels, (height, width), mean, std, **dataset.decoding._asdict())

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`. Raises ValueError or TypeError for other content."""
        known: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in content.items()
        }
        return cls(**known)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a JSON file; without draft if it is off, for earlier versions."""
        values = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        return {key: value for key, value in values.items() if key != "draft" or value}

    @property
    def in_shape(self) -> tuple[int, int, int]:
        """(channels, H, W) of what the network is given."""
        return (self.channels, *self.image_size)

    def pixels(self, image: ImageLike) -> Tensor:
        """The image's pixels, uint8 (channels, H, W), not normalised.

        Raises ImageError if it is not an image, or damaged.
        """
        with opened(image) as file:
            decoded = decode_opened(file, self._format).pixels
            return torch.tensor(decoded)

    def normalize(self, pixels: Tensor) -> Tensor:
        """uint8 pixels (B, channels, H, W) -> what the network is given, float32, same shape."""
        return self._normalize(pixels)

    def __call__(self, image: ImageLike) -> Tensor:
        """What the network is given for one image, float32 (channels, H, W). Raises ImageError."""
        return self.normalize(self.pixels(image)[None])[0]

    @cached_property
    def _format(self) -> ImageFormat:
        height, width = self.image_size
        return ImageFormat(self.channels, height, width, self.crop, self.white, self.draft)

    @cached_property
    def _normalize(self) -> Normalize:
        return Normalize(self.mean, self.std)


def _is_size(values: object) -> bool:
    if not isinstance(values, tuple) or len(values) != 2:
        return False
    return all(is_integer(value) and value > 0 for value in values)


def check_numbers(key: str, values: Any, channels: int) -> None:
    """Raise ValueError unless ``values`` are as many finite numbers as there are channels."""
    are_numbers = isinstance(values, list | tuple) and all(map(is_finite_number, values))
    valid = are_numbers and len(values) == channels
    require(valid, key, f"{channels} finite numbers, one for each channel", values)
