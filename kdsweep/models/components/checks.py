"""Checks of the shapes, sizes and depths that a user gives a model; each raises ValueError."""

from kdsweep.common.validation import check_positive, is_integer, require, require_integer

WIDEST = 64  # a network so many times as wide has some 4,000 times the weights
Shape = tuple[int, int, int]  # (channels, height, width) of one image


def check_task(
    in_shape: Shape, num_classes: int, name: str = "a classifier", smallest: int = 1
) -> None:
    """Shapes and class counts that a classifier can have.

    The pools of the model called ``name`` shrink images below ``smallest`` to nothing.
    """
    if len(in_shape) != 3 or any(side < 1 for side in in_shape):
        raise ValueError(f"in_shape must be (channels, height, width), all > 0, got {in_shape}")
    require(num_classes >= 2, "num_classes", "at least 2", num_classes)
    _, height, width = in_shape
    if min(height, width) < smallest:
        raise ValueError(
            f"{name} needs images of at least {smallest} x {smallest}, got {height} x {width}"
        )


def check_units(count: int, name: str = "width") -> None:
    """The argument called ``name`` is a number of units or channels."""
    require_integer(is_integer(count) and count >= 1, name, "an integer > 0", count)


def check_multiplier(width: float) -> None:
    """``width`` multiplies the number of channels of a published model."""
    check_positive("width", width)
    require(width <= WIDEST, "width", f"at most {WIDEST} times the published one", width)
