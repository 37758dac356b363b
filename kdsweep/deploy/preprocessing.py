"""From an image of any kind to what a network is given: the same as in evaluation during training.

Images are decoded, turned upright, resized and normalised by the functions that read data sets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor

from kdsweep.common.validation import (
    check_option,
    check_positive,
    is_finite_number,
    is_integer,
    parse_image_size,
    require,
)
from kdsweep.data.images.encoded import ImageFormat, decode_opened
from kdsweep.data.pipeline.central_view import CentralView
from kdsweep.data.pipeline.normalize import Normalize
from kdsweep.data.pipeline.split import Dataset
from kdsweep.data.types import INTERPOLATIONS, Decoding
from kdsweep.deploy.images import ImageLike, opened
from kdsweep.models.components.input_size import resized_input


@dataclass(frozen=True)
class Preprocessing:
    """How a network's images are prepared.

    Attributes:
        channels: 3 makes every image RGB, 1 grey; alpha is dropped.
        image_size: (H, W) that the network is given.
        mean, std: per channel, in units of [0, 1] pixels.
        crop: images of other proportions are cropped around their centre, not stretched.
        white: the value that becomes 255 in images of more than 8 bits a channel; None: 65535 of 16
            bits, 1 of floating-point numbers.
        draft: large JPEG files are decoded at a fraction of their size, as in training.
        interpolation: bilinear or bicubic, of Pillow, over all pixels of a larger image.
        antialias: always true.
        decode_size: (H, W) that images are decoded to; None: ``image_size``.
        view: the part of the decoded image that is kept; None: all of it. What it gives is resized
            to ``image_size`` after normalisation, if it has another size.
    """

    channels: int
    image_size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: bool = False
    white: float | None = None
    draft: bool = False
    interpolation: str = "bilinear"
    antialias: bool = True
    decode_size: tuple[int, int] | None = None
    view: CentralView | None = None

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
        check_option("preprocessing.interpolation", self.interpolation, INTERPOLATIONS)
        require(self.antialias is True, "preprocessing.antialias", "true", self.antialias)
        is_size = self.decode_size is None or _is_size(self.decode_size)
        require(is_size, "preprocessing.decode_size", "null or [H, W]", self.decode_size)

    @classmethod
    def of(cls, dataset: Dataset, image_size: int | Sequence[int] | None = None) -> Self:
        """The preprocessing of a data set for a network for images of a size; null: the set's."""
        _, channels, height, width = dataset.train.images.shape
        mean, std = tuple(dataset.mean), tuple(dataset.std)
        rules = {**dataset.decoding._asdict(), "view": dataset.view}
        return cls(channels, (height, width), mean, std, **rules).of_network(image_size)

    def of_network(self, image_size: int | Sequence[int] | None) -> Self:
        """The same images for another network, of a size; null: that of `pixels`."""
        shown, decoded = self.pixel_shape[1:], self.decode_size or self.image_size
        size = shown if image_size is None else parse_image_size("image_size", image_size)
        return replace(self, image_size=size, decode_size=None if decoded == size else decoded)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`. Raises ValueError or TypeError for other content."""
        known: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in content.items()
        }
        if (view := known.get("view")) is not None:
            size = parse_image_size("preprocessing.view.size", view["size"])
            known["view"] = CentralView(**{**view, "size": size})
        return cls(**known)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a JSON file; without the later ones where they have no effect."""
        values = asdict(self)
        for key in ("draft", "decode_size", "view"):
            if not values[key]:
                del values[key]
        return {k: _listed(v) for k, v in values.items()}

    @property
    def in_shape(self) -> tuple[int, int, int]:
        """(channels, H, W) of what the network is given."""
        return (self.channels, *self.image_size)

    @property
    def pixel_shape(self) -> tuple[int, int, int]:
        """(channels, H, W) of `pixels`."""
        shown = self.decode_size or self.image_size
        return (self.channels, *(shown if self.view is None else self.view.size))

    def pixels(self, image: ImageLike) -> Tensor:
        """The image's pixels, uint8 (channels, H, W), not normalised, and before it is resized.

        Raises ImageError if it is not an image, or damaged.
        """
        if self.draft and isinstance(image, Image.Image):
            image = _encoded(image)  # `draft` would shrink the caller's for good
        with opened(image) as file:
            pixels = torch.tensor(decode_opened(file, self._format).pixels)
        return pixels if self.view is None else self.view(pixels[None])[0]

    def normalize(self, pixels: Tensor) -> Tensor:
        """uint8 pixels (B, channels, H, W) -> what the network is given, float32 (B, *in_shape)."""
        return self.resize(self._normalize(pixels))

    def resize(self, images: Tensor) -> Tensor:
        """Normalised images (B, channels, H, W) of the size of the network: (B, *in_shape)."""
        return resized_input(images, self.image_size)

    def __call__(self, image: ImageLike) -> Tensor:
        """What the network is given for one image, float32 (channels, H, W). Raises ImageError."""
        return self.normalize(self.pixels(image)[None])[0]

    @cached_property
    def _format(self) -> ImageFormat:
        decoded = self.decode_size or self.image_size
        rules = Decoding(self.crop, self.white, self.draft, self.interpolation)
        return ImageFormat(self.channels, *decoded, **rules._asdict())

    @cached_property
    def _normalize(self) -> Normalize:
        return Normalize(self.mean, self.std)


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _listed(child) for key, child in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _is_size(values: object) -> bool:
    if not isinstance(values, tuple) or len(values) != 2:
        return False
    return all(is_integer(value) and value > 0 for value in values)


def check_numbers(key: str, values: Any, channels: int) -> None:
    """Raise ValueError unless ``values`` are as many finite numbers as there are channels."""
    are_numbers = isinstance(values, list | tuple) and all(map(is_finite_number, values))
    valid = are_numbers and len(values) == channels
    require(valid, key, f"{channels} finite numbers, one for each channel", values)


def _encoded(image: Image.Image) -> Image.Image | bytes:
    """The content of the file of an image whose pixels are not read yet; else the image."""
    file = getattr(image, "fp", None)
    if file is None or not getattr(image, "tile", None):
        return image
    position = file.tell()
    file.seek(0)
    content: bytes = file.read()
    file.seek(position)
    return content
