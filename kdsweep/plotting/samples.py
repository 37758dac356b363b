"""A grid of training images."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdsweep.common.text import shorten
from kdsweep.plotting.drawing import as_array, new_figure, save_with_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME_LETTERS = 14
WIDTH, HEIGHT = 1.25, 1.5  # of an image and its name, in inches
SIDE = 1.15  # of the longer side of an image, in inches


def draw_samples(images: Any, labels: Any, class_names: Sequence[str], path: Path) -> None:
    """Draw images, uint8 (N, channels, H, W), as a grid with the names of their labels (N,)."""
    pixels = as_array(images).transpose(0, 2, 3, 1)  # (N, H, W, channels)
    names = [class_names[int(label)] for label in as_array(labels)]
    columns = min(8, len(names))
    rows = math.ceil(len(names) / columns)
    figure = new_figure(WIDTH * columns, HEIGHT * rows)
    axes = figure.subplots()  # one for all: an axes for each image takes five times as long
    for number, (image, name) in enumerate(zip(pixels, names, strict=True)):
        row, column = divmod(number, columns)
        middle, bottom = WIDTH * (column + 0.5), HEIGHT * (row + 1)
        top = _show_image(axes, image, middle, bottom)
        title = shorten(name, NAME_LETTERS)
        axes.text(middle, top - 0.06, title, fontsize=9, ha="center")
    axes.set(xlim=(0, WIDTH * columns), ylim=(HEIGHT * rows, 0), aspect="equal")
    axes.set_axis_off()
    save_with_title(figure, path, "Training images, as the students see them")


def _show_image(axes: "Axes", image: Any, middle: float, bottom: float) -> float:
    """Show an image (H, W, channels) on a given place; returns where it ends at the top."""
    height, width, channels = image.shape
    scale = SIDE / max(height, width)
    left, right = middle - scale * width / 2, middle + scale * width / 2
    top: float = bottom - scale * height
    shown, colors = (image[..., 0], "gray") if channels == 1 else (image, None)
    axes.imshow(
        shown,
        cmap=colors,
        vmin=0,
        vmax=255,
        interpolation="nearest",
        extent=(left, right, bottom, top),
    )
    return top
