"""The confusion matrix of one run."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kdsweep.common.text import shorten
from kdsweep.plotting.drawing import as_array, new_figure, save_with_title
from kdsweep.plotting.palette import text_color_on

MAX_WRITTEN_CLASSES = 20  # more counts than that are unreadable
MAX_NAMED_CLASSES = 40
NAME_LETTERS = 24


def draw_confusion(matrix: Any, class_names: Sequence[str], path: Path, title: str = "") -> None:
    """Draw a confusion matrix (C, C) of counts: rows are true classes, columns predicted ones.

    A colour is the share of its true class, a number the count of images.
    """
    import numpy as np

    counts = as_array(matrix).astype(float)
    size = len(class_names)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(max(5.0, 0.5 * size + 2), 12.0)
    figure = new_figure(side + 1, side)
    axes = figure.subplots()
    # Errors are rare: they would be invisible on a linear scale.
    image = axes.imshow(np.sqrt(shares), cmap="cividis", vmin=0, vmax=1)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class (%)")
    bar.set_ticks([math.sqrt(share) for share in (0, 0.01, 0.1, 0.25, 0.5, 1)])
    bar.set_ticklabels(["0", "1", "10", "25", "50", "100"])
    if size <= MAX_WRITTEN_CLASSES:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                color = text_color_on(image, math.sqrt(shares[row, column]))
                axes.text(column, row, f"{count:.0f}", ha="center", va="center", color=color)
    if size <= MAX_NAMED_CLASSES:
        names = [shorten(name, NAME_LETTERS) for name in class_names]
        axes.set_xticks(range(size), names, rotation=90 if max(map(len, names)) > 3 else 0)
        axes.set_yticks(range(size), names)
    axes.set(xlabel="predicted class", ylabel="true class")
    right, total = np.trace(counts), counts.sum()
    summary = f"{right:.0f} of {total:.0f} images right ({100 * right / max(total, 1):.2f} %)"
    save_with_title(figure, path, f"{title}\n{summary}" if title else summary)
