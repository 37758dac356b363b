"""What is in a picture: its pixels, the texts in its cells, the titles of its panels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.image import imread


def pixels(path: Path) -> np.ndarray:
    """The picture (H, W, 4) in [0, 1], checked to be more than an empty page."""
    image = imread(path)
    height, width = image.shape[:2]
    assert min(height, width) > 80
    assert len(np.unique((255 * image).round().astype(np.uint8).view(np.uint32))) > 20
    # Nothing touches the edge, so nothing is clipped.
    edge = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    assert np.all(edge == 1)
    return image


def cell_texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collects what is written into the cells of pictures drawn from now on: `column,row: text`."""
    texts: list[str] = []
    real = Axes.text

    def text(self: Axes, x: float, y: float, s: str, **rest: Any) -> Any:
        texts.append(f"{x:g},{y:g}: {s}")
        return real(self, x, y, s, **rest)

    monkeypatch.setattr(Axes, "text", text)
    return texts


def panel_titles(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collects the titles of the panels of pictures drawn from now on."""
    titles: list[str] = []
    real = Axes.set_title

    def set_title(self: Axes, label: str, *rest: Any, **more: Any) -> Any:
        titles.append(label)
        return real(self, label, *rest, **more)

    monkeypatch.setattr(Axes, "set_title", set_title)
    return titles
