"""A grid of training images."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kdsweep.common.text import shorten
from kdsweep.plotting.drawing import as_array, new_figure, save_with_title

NAME_LETTERS = 14


def draw_samples(images: Any, labels: Any, class_names: Sequence[str], path: Path) -> None:
    """Draw images, uint8 (N, channels, H, W), as a grid with the names of their labels (N,)."""
    pixels = as_array(images).transpose(0, 2, 3, 1)  # (N, H, W, channels)
    names = [class_names[int(label)] for label in as_array(labels)]
    columns = min(8, len(names))
    rows = math.ceil(len(names) / columns)
    figure = new_figure(1.25 * columns + 0.3, 1.5 * rows + 0.6)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, image, name in zip(grid, pixels, names, strict=False):
        grey = image.shape[-1] == 1
        shown, colors = (image[..., 0], "gray") if grey else (image, None)
        axes.imshow(shown, cmap=colors, vmin=0, vmax=255, interpolation="nearest")
        axes.set_title(shorten(name, NAME_LETTERS), fontsize=9)
    save_with_title(figure, path, "Training images, as the students see them")
