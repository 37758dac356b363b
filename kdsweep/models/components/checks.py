"""Checks of what a user may ask of a model; every one ends in one clear sentence."""

import math
from collections.abc import Collection

WIDEST = 64  # a network so many times as wide has some 4,000 times the weights
Shape = tuple[int, int, int]  # (channels, height, width) of one image


def check_task(in_shape: Shape, num_classes: int) -> None:
    """Refuse shapes and class counts that no classifier can have."""
    if len(in_shape) != 3 or any(side < 1 for side in in_shape):
        raise ValueError(f"in_shape must be (channels, height, width), all > 0, got {in_shape}")
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, got {num_classes}")


def check_image_size(name: str, in_shape: Shape, smallest: int) -> None:
    """Refuse images that the pools of the model called ``name`` would shrink to nothing."""
    _, height, width = in_shape
    if min(height, width) < smallest:
        raise ValueError(
            f"{name} needs images of at least {smallest} x {smallest}, got {height} x {width}"
        )


def check_units(count: int, name: str = "width") -> None:
    """The argument called ``name`` counts units or channels."""
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"{name} must be an integer > 0, got {count!r}")


def check_multiplier(width: float) -> None:
    """``width`` multiplies the number of channels of a published model."""
    number = isinstance(width, (int, float)) and not isinstance(width, bool)
    if not number or not math.isfinite(width) or width <= 0:
        raise ValueError(f"width must be a finite number > 0, got {width!r}")
    if width > WIDEST:
        raise ValueError(f"width must be at most {WIDEST} times the published one, got {width!r}")


def check_dropout(dropout: float) -> None:
    """``dropout`` is the probability of dropping a unit."""
    number = isinstance(dropout, (int, float)) and not isinstance(dropout, bool)
    if not number or not 0 <= dropout < 1:
        raise ValueError(f"dropout must be a number in [0, 1), got {dropout!r}")


def check_depth(depth: int, known: Collection[int], rule: str) -> None:
    """``depth`` names a published form of the family, whose depths follow ``rule``."""
    if depth not in known:
        raise ValueError(f"depth must be {rule}, got {depth!r}")
