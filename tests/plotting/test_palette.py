from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from kdsweep.plotting.palette import text_color_on


def test_text_can_be_read_on_dark_and_light_cells() -> None:
    colors = ScalarMappable(Normalize(0, 1), "cividis")
    assert text_color_on(colors, 0.0) == "white"
    assert text_color_on(colors, 1.0) == "black"
