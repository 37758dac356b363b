"""Size, interpolation and crop of the images that the weights of a network were trained with."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import nn

ATTRIBUTE = "trained_view"  # of a network
ROUNDING = 0.005  # of crop_pct, where sizes are whole pixels


class View(NamedTuple):
    """How a network is given images; None is unknown.

    Attributes:
        image_size: height and width, [H, W].
        interpolation: of images that are resized to it, such as bilinear.
        crop_pct: the part of the shorter side that is left by the crop around the centre.
    """

    image_size: tuple[int, int] | None = None
    interpolation: str | None = None
    crop_pct: float | None = None

    def only(self, keys: Sequence[str]) -> str:
        """Some of its values: `image_size=224 interpolation=bicubic`."""
        return " ".join(f"{key}={_shown(getattr(self, key))}" for key in keys)


def set_trained_view(model: nn.Module, view: View) -> None:
    """Keep how a network was given images when its weights were trained."""
    setattr(model, ATTRIBUTE, view)


def view_difference(model: nn.Module, given: View) -> str | None:
    """What differs between the images that a network is given and those of its training, if any."""
    trained = getattr(model, ATTRIBUTE, View())
    keys = [key for key in View._fields if _differ(getattr(trained, key), getattr(given, key))]
    if not keys:
        return None
    return f"its weights were trained with {trained.only(keys)}, got {given.only(keys)}"


def _differ(trained: object, given: object) -> bool:
    if trained is None or given is None:
        return False
    if isinstance(trained, float) and isinstance(given, float):
        return abs(trained - given) > ROUNDING
    return trained != given


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        height, width = value
        return str(height) if height == width else f"[{height},{width}]"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
