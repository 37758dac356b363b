"""RandAugment, TrivialAugment and AutoAugment, with operations drawn for each image.

- RandAugment: Cubuk et al. 2019, arXiv 1909.13719.
- TrivialAugment, with its wide ranges: Mueller and Hutter 2021, arXiv 2103.10158.
- AutoAugment: Cubuk et al. 2018, arXiv 1805.09501; the policy found on ImageNet.

Operations, ranges and draws are those of torchvision.transforms.v2, and the pixels those of its
operations for Pillow's images, which its training recipes use.

Shapes: n images in total, R operations on an image, M magnitudes of an operation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from kdsweep.common.validation import check_whole, require_integer
from kdsweep.data.pipeline import image_operations as operations
from kdsweep.data.pipeline.drawn_operations import DrawnOperations
from kdsweep.data.pipeline.image_operations import Operation
from kdsweep.data.pipeline.resampling import Size

MAGNITUDES = 31  # of RandAugment and TrivialAugment
MAGNITUDES_OF_POLICY = 10  # of AutoAugment


def _enhanced(apply: Operation, images: Tensor, values: Tensor) -> Tensor:
    return apply(images, 1 + values)


def _solarized(images: Tensor, values: Tensor) -> Tensor:
    return operations.solarize(images, 255 * values)


def _moved_right(images: Tensor, values: Tensor) -> Tensor:
    return operations.affine(images, 1.0, 0.0, -values.trunc(), 0.0, 1.0, 0.0)


def _moved_down(images: Tensor, values: Tensor) -> Tensor:
    return operations.affine(images, 1.0, 0.0, 0.0, 0.0, 1.0, -values.trunc())


class Kind(NamedTuple):
    """An operation, and whether half of its magnitudes are negated."""

    apply: Operation  # called with magnitudes
    signed: bool = False


KINDS: dict[str, Kind] = {
    "Identity": Kind(operations.identity),
    "ShearX": Kind(operations.shear_x, signed=True),
    "ShearY": Kind(operations.shear_y, signed=True),
    "TranslateX": Kind(_moved_right, signed=True),  # by pixels
    "TranslateY": Kind(_moved_down, signed=True),
    "Rotate": Kind(operations.rotate, signed=True),
    "Brightness": Kind(partial(_enhanced, operations.brightness), signed=True),
    "Color": Kind(partial(_enhanced, operations.color), signed=True),
    "Contrast": Kind(partial(_enhanced, operations.contrast), signed=True),
    "Sharpness": Kind(partial(_enhanced, operations.sharpness), signed=True),
    "Posterize": Kind(operations.posterize),
    "Solarize": Kind(_solarized),
    "AutoContrast": Kind(operations.autocontrast),
    "Equalize": Kind(operations.equalize),
    "Invert": Kind(operations.invert),  # AutoAugment's alone
}
NAMES = tuple(KINDS)
CHOSEN = len(NAMES) - 1  # those that RandAugment and TrivialAugment choose from
IDENTITY = NAMES.index("Identity")
POLICY_OPERATIONS: tuple[Operation, ...] = tuple(kind.apply for kind in KINDS.values())


@dataclass(frozen=True)
class Ranges:
    """The largest magnitudes; those of translations are pixels of an image of (H, W)."""

    shear: float
    shift: Callable[[int], float]  # of the side of an image
    degrees: float
    enhance: float
    bits: int  # that posterizing removes

    def magnitudes(self, count: int, image: Size) -> Tensor:
        """M magnitudes of each operation, (operations, M) float64; 0 where it has none."""
        height, width = image
        steps = torch.arange(count)
        up_to = {
            **dict.fromkeys(("ShearX", "ShearY"), self.shear),
            "TranslateX": self.shift(width),
            "TranslateY": self.shift(height),
            "Rotate": self.degrees,
            **dict.fromkeys(("Brightness", "Color", "Contrast", "Sharpness"), self.enhance),
        }
        rows = {name: torch.linspace(0.0, most, count) for name, most in up_to.items()}
        rows["Posterize"] = (8 - (steps / ((count - 1) / self.bits))).round()
        rows["Solarize"] = torch.linspace(1.0, 0.0, count)
        return torch.stack([rows.get(name, torch.zeros(count)).double() for name in NAMES])


def _part_of_side(side: int) -> float:
    return 150.0 / 331.0 * side


NARROW = Ranges(shear=0.3, shift=_part_of_side, degrees=30.0, enhance=0.9, bits=4)
WIDE = Ranges(shear=0.99, shift=lambda side: 32.0, degrees=135.0, enhance=0.99, bits=6)


class Policy(Protocol):
    """Chooses the operations on each image."""

    def draw(self, n: int, image: Size, generator: torch.Generator) -> DrawnOperations:
        """For n images of (H, W), positions in POLICY_OPERATIONS, on the CPU."""


@dataclass(frozen=True)
class RandAugment:
    """``num_ops`` operations of 14, with replacement, of one magnitude from 0 to 30.

    Raises ValueError unless both are whole numbers, ``num_ops`` at least 1.
    """

    num_ops: int = 2
    magnitude: int = 9

    def __post_init__(self) -> None:
        check_whole("dataset.augment.num_ops", self.num_ops, least=1)
        key, most = "dataset.augment.magnitude", MAGNITUDES - 1
        check_whole(key, self.magnitude, least=0)
        require_integer(self.magnitude <= most, key, f"at most {most}", self.magnitude)

    def draw(self, n: int, image: Size, generator: torch.Generator) -> DrawnOperations:
        operation = torch.randint(CHOSEN, (n, self.num_ops), generator=generator)
        magnitudes = NARROW.magnitudes(MAGNITUDES, image)[operation, self.magnitude]
        return _with_signs(operation, magnitudes, generator)


@dataclass(frozen=True)
class TrivialAugment:
    """One operation of 14, of one of 31 magnitudes in wide ranges."""

    def draw(self, n: int, image: Size, generator: torch.Generator) -> DrawnOperations:
        operation = torch.randint(CHOSEN, (n, 1), generator=generator)
        place = torch.randint(MAGNITUDES, (n, 1), generator=generator)
        magnitudes = WIDE.magnitudes(MAGNITUDES, image)[operation, place]
        return _with_signs(operation, magnitudes, generator)


@dataclass(frozen=True)
class AutoAugment:
    """One of 25 pairs of operations, each done with a probability of its own."""

    def draw(self, n: int, image: Size, generator: torch.Generator) -> DrawnOperations:
        pair = torch.randint(len(IMAGENET_POLICY), (n,), generator=generator)
        rows = [[NAMES.index(name) for name, _, _ in both] for both in IMAGENET_POLICY]
        chances = [[chance for _, chance, _ in both] for both in IMAGENET_POLICY]
        places = [[place or 0 for _, _, place in both] for both in IMAGENET_POLICY]
        is_done = torch.rand(n, 2, generator=generator) <= torch.tensor(chances)[pair]
        operation = torch.tensor(rows)[pair].where(is_done, torch.tensor(IDENTITY))
        table = NARROW.magnitudes(MAGNITUDES_OF_POLICY, image)
        return _with_signs(operation, table[operation, torch.tensor(places)[pair]], generator)


def _with_signs(
    operation: Tensor, magnitudes: Tensor, generator: torch.Generator
) -> DrawnOperations:
    """Half of the magnitudes that may be are negated."""
    is_negated = torch.randint(2, operation.shape, generator=generator).bool()
    is_negated &= torch.tensor([kind.signed for kind in KINDS.values()])[operation]
    return DrawnOperations(operation, magnitudes.where(~is_negated, -magnitudes))


# Pairs of (operation, its probability, the place of its magnitude); table 9 of the paper.
IMAGENET_POLICY = (
    (("Posterize", 0.4, 8), ("Rotate", 0.6, 9)),
    (("Solarize", 0.6, 5), ("AutoContrast", 0.6, None)),
    (("Equalize", 0.8, None), ("Equalize", 0.6, None)),
    (("Posterize", 0.6, 7), ("Posterize", 0.6, 6)),
    (("Equalize", 0.4, None), ("Solarize", 0.2, 4)),
    (("Equalize", 0.4, None), ("Rotate", 0.8, 8)),
    (("Solarize", 0.6, 3), ("Equalize", 0.6, None)),
    (("Posterize", 0.8, 5), ("Equalize", 1.0, None)),
    (("Rotate", 0.2, 3), ("Solarize", 0.6, 8)),
    (("Equalize", 0.6, None), ("Posterize", 0.4, 6)),
    (("Rotate", 0.8, 8), ("Color", 0.4, 0)),
    (("Rotate", 0.4, 9), ("Equalize", 0.6, None)),
    (("Equalize", 0.0, None), ("Equalize", 0.8, None)),
    (("Invert", 0.6, None), ("Equalize", 1.0, None)),
    (("Color", 0.6, 4), ("Contrast", 1.0, 8)),
    (("Rotate", 0.8, 8), ("Color", 1.0, 2)),
    (("Color", 0.8, 8), ("Solarize", 0.8, 7)),
    (("Sharpness", 0.4, 7), ("Invert", 0.6, None)),
    (("ShearX", 0.6, 5), ("Equalize", 1.0, None)),
    (("Color", 0.4, 0), ("Equalize", 0.6, None)),
    (("Equalize", 0.4, None), ("Solarize", 0.2, 4)),
    (("Solarize", 0.6, 5), ("AutoContrast", 0.6, None)),
    (("Invert", 0.6, None), ("Equalize", 1.0, None)),
    (("Color", 0.6, 4), ("Contrast", 1.0, 8)),
    (("Equalize", 0.8, None), ("Equalize", 0.6, None)),
)
