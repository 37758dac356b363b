"""Every picture is a PNG of some size that shows something."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from kdsweep.tracking import plots
from kdsweep.tracking.run_folder import make_row


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of the time, and half the resolution shows the same."""
    monkeypatch.setattr(plots, "DPI", 60)


def pixels(path: Path) -> np.ndarray:
    """The picture (H, W, 4) in [0, 1], checked to be more than an empty page."""
    image = imread(path)
    height, width = image.shape[:2]
    assert min(height, width) > 80
    assert len(np.unique(image.reshape(-1, image.shape[-1]), axis=0)) > 20
    # Nothing touches the edge, so nothing is clipped.
    edge = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    assert np.all(edge == 1)
    return image


def grid(**changes: Any) -> list[dict[str, Any]]:
    return [
        {"T": T, "alpha": alpha, "loss": "kl", "seed": seed, "val/acc": 0.9 + alpha / 20 + T / 999}
        | changes
        for T in (1.0, 4.0, 16.0)
        for alpha in (0.1, 0.5, 0.9)
        for seed in (0, 1)
    ]


def texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collects what is written into the cells of a picture."""
    from matplotlib.axes import Axes

    found: list[str] = []
    real = Axes.text

    def text(self: Axes, x: float, y: float, s: str, **rest: Any) -> Any:
        found.append(f"{x:g},{y:g}: {s}")
        return real(self, x, y, s, **rest)

    monkeypatch.setattr(Axes, "text", text)
    return found


@pytest.mark.parametrize("epochs", [1, 30])
def test_curves(tmp_path: Path, epochs: int) -> None:
    rows = [
        make_row(
            epoch,
            0,
            {
                "train/loss": math.nan if epoch == 3 else 1 / (epoch + 1),
                "train/kl": 0.5,
                "val/acc": 0.5,
                "lr": 0.1,
            },
        )
        for epoch in range(epochs)
    ]
    plots.curves([*rows, make_row(epochs - 1, 0, {"test/acc": 0.6})], tmp_path / "a.png", "run 0")
    pixels(tmp_path / "a.png")


def test_curves_of_a_run_without_validation(tmp_path: Path) -> None:
    plots.curves([make_row(0, 0, {"train/loss": 1.0})], tmp_path / "a.png")
    pixels(tmp_path / "a.png")


@pytest.mark.parametrize("make", [list, np.array, torch.tensor])
def test_confusion_writes_the_counts_row_by_true_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any
) -> None:
    found = texts(monkeypatch)
    plots.confusion(make([[5, 2], [0, 7]]), ["cat", "a [long] $name"], tmp_path / "a.png", "test")
    assert set(found) == {"0,0: 5", "1,0: 2", "1,1: 7"}
    pixels(tmp_path / "a.png")


def test_confusion_of_many_classes_is_not_written_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = texts(monkeypatch)
    plots.confusion(np.eye(41), [f"class {i}" for i in range(41)], tmp_path / "a.png")
    assert not found
    pixels(tmp_path / "a.png")


def test_the_heatmap_writes_the_mean_over_seeds_and_their_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = texts(monkeypatch)
    rows = [
        {"T": 16, "alpha": 0.9, "loss": "kl", "val/acc": 0.96},
        {"T": 16.0, "alpha": 0.9, "loss": "kl", "val/acc": 0.98},
        {"T": 16.0, "alpha": 0.9, "loss": "kl", "val/acc": 0.1, "same_as": 0},
        {"T": 1.0, "alpha": 0.1, "loss": "kl", "val/acc": 0.95},
        {"T": 4.0, "alpha": 0.1, "loss": "kl", "val/acc": None},
        {"T": None, "alpha": None, "loss": "ce", "val/acc": 0.9},
    ]
    assert plots.heatmap(rows, tmp_path / "a.png") is True
    assert set(found) == {"0,0: 95.00\nn=1", "1,1: 97.00\nn=2"}
    pixels(tmp_path / "a.png")


def test_the_heatmap_has_a_panel_for_each_loss_and_student(tmp_path: Path) -> None:
    plots.heatmap(grid(), tmp_path / "one.png")
    plots.heatmap(grid() + grid(loss="mse"), tmp_path / "two.png")
    plots.heatmap(grid(student="mlp") + grid(student="cnn"), tmp_path / "students.png")
    one, two, students = (
        pixels(tmp_path / f"{name}.png").shape[1] for name in ("one", "two", "students")
    )
    assert min(two, students) > 1.5 * one


def test_text_can_be_read_on_dark_and_light_cells() -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    colors = ScalarMappable(Normalize(0, 1), "cividis")
    assert plots._readable_on(colors, 0.0) == "white"
    assert plots._readable_on(colors, 1.0) == "black"


def test_a_heatmap_of_ties_is_one_colour(tmp_path: Path) -> None:
    rows = [{"T": T, "alpha": 0.5, "loss": "kl", "val/acc": 0.97} for T in (1, 2)]
    assert plots.heatmap(rows, tmp_path / "a.png")
    pixels(tmp_path / "a.png")


def test_the_points_of_a_search_are_no_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = texts(monkeypatch)
    rows = [
        {"T": 1 + n * 0.7, "alpha": (n * 37 % 100) / 100, "loss": "kl", "val/acc": 0.9 + n / 999}
        for n in range(20)
    ]
    assert plots.heatmap(rows, tmp_path / "a.png")
    assert not found
    pixels(tmp_path / "a.png")


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [{"T": 4.0, "alpha": 0.5, "loss": "kl", "val/acc": 0.9, "seed": seed} for seed in (0, 1)],
        grid(alpha=None),
        grid(T=None),
        grid(**{"val/acc": None}),
        grid(same_as=0),
    ],
)
def test_no_heatmap_of_fewer_than_two_cells(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    assert plots.heatmap(rows, tmp_path / "a.png") is False
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize(("count", "channels"), [(1, 1), (11, 3)])
def test_samples(tmp_path: Path, count: int, channels: int) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, channels, 8, 8), dtype=torch.uint8, generator=generator)
    labels = torch.arange(count) % 2
    plots.samples(images, labels, ["cat", "a rather long class name"], tmp_path / "a.png")
    pixels(tmp_path / "a.png")


def test_drawing_leaves_no_global_state(tmp_path: Path) -> None:
    import sys

    plots.heatmap(grid(), tmp_path / "a.png")
    assert "matplotlib.pyplot" not in sys.modules
