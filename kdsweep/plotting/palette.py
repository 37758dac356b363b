"""Colours of Okabe and Ito (2008), which the colour-blind can distinguish."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.cm import ScalarMappable

BLUE = "#0072B2"
ORANGE = "#E69F00"
GREEN = "#009E73"
RED = "#D55E00"
PURPLE = "#CC79A7"
SKY = "#56B4E9"
GREY = "#666666"


def text_color_on(colors: "ScalarMappable", value: float) -> str:
    """Black or white, whichever can be read on the colour of ``value``."""
    import numpy as np

    red, green, blue, _ = colors.to_rgba(np.array([value]))[0]
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"
