"""Every picture is a PNG of some size that shows something."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from kdsweep.plotting import plots
from kdsweep.tracking.results_table import COLUMNS
from kdsweep.tracking.run_dir import make_row


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


def result(loss: str = "kl", *, rest: str = "", **changes: Any) -> dict[str, Any]:
    """A row as `kdsweep.tracking.results_table.collect` gives it; ``rest`` ends its cell."""
    row = dict.fromkeys(COLUMNS) | {"loss": loss, "seed": 0, "status": "FINISHED", "val/acc": 0.9}
    row |= changes
    words = [loss, *(f"{key}={row[key]:g}" for key in ("T", "alpha") if row[key] is not None), rest]
    return row | {"cell": " ".join(filter(None, words))}


def grid(loss: str = "kl", *, rest: str = "", **changes: Any) -> list[dict[str, Any]]:
    return [
        result(loss, rest=rest, **values | changes)
        for T in (1.0, 4.0, 16.0)
        for alpha in (0.1, 0.5, 0.9)
        for seed in (0, 1)
        for values in [
            {"T": T, "alpha": alpha, "seed": seed, "val/acc": 0.9 + alpha / 20 + T / 999}
        ]
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


def titles(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collects the titles of a picture's panels."""
    from matplotlib.axes import Axes

    found: list[str] = []
    real = Axes.set_title

    def set_title(self: Axes, label: str, *rest: Any, **more: Any) -> Any:
        found.append(label)
        return real(self, label, *rest, **more)

    monkeypatch.setattr(Axes, "set_title", set_title)
    return found


def test_the_heatmap_writes_the_mean_over_seeds_and_their_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = texts(monkeypatch)
    rows = [
        result(T=16, alpha=0.9, **{"val/acc": 0.96}),
        result(T=16.0, alpha=0.9, seed=1, **{"val/acc": 0.98}),
        result(T=16.0, alpha=0.9, **{"val/acc": 0.1}, same_as=0),
        result(T=1.0, alpha=0.1, **{"val/acc": 0.95}),
        result(T=4.0, alpha=0.1, **{"val/acc": None}),
    ]
    assert plots.heatmap(rows, tmp_path / "a.png") is True
    assert set(found) == {"0,0: 95.00\nn=1", "1,1: 97.00\nn=2"}
    pixels(tmp_path / "a.png")


def test_what_else_is_swept_has_a_panel_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, found = titles(monkeypatch), texts(monkeypatch)
    rows = [
        result(T=T, alpha=0.5, rest=f"optimizer.lr={lr}", **{"val/acc": acc})
        for T, lr, acc in [(1, 0.001, 0.5), (1, 0.02, 0.9), (4, 0.001, 0.6), (4, 0.02, 0.8)]
    ]
    assert plots.heatmap(rows, tmp_path / "a.png") is True
    assert names == ["kl optimizer.lr=0.001", "kl optimizer.lr=0.02"]
    assert found == [
        "0,0: 50.00\nn=1",
        "1,0: 60.00\nn=1",
        "0,0: 90.00\nn=1",
        "1,0: 80.00\nn=1",
    ]


def test_a_run_that_does_not_follow_T_and_alpha_has_no_panel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = titles(monkeypatch)
    rows = [*grid(), *grid("ce", T=None, alpha=None), *grid("mse", T=None)]
    assert plots.heatmap(rows, tmp_path / "a.png") is True
    assert names == ["kl"]


def test_panels_of_one_point_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = titles(monkeypatch)
    rows = [*grid(), result("soft_ce", T=4.0, alpha=0.5)]
    assert plots.heatmap(rows, tmp_path / "a.png") is True
    assert names == ["kl"]


def test_many_panels_stand_in_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = titles(monkeypatch)
    assert plots.heatmap(grid(), tmp_path / "one.png")
    long = "student.model.dropout=0.5 optimizer.weight_decay=0.0005"
    rows = [row for lr in range(5) for row in grid(rest=f"optimizer.lr={lr} {long}")]
    assert plots.heatmap([*grid("mse"), *rows], tmp_path / "six.png")
    assert names[-1].split() == ["mse"]
    assert names[1].split() == ["kl", "optimizer.lr=0", *long.split()]
    one, six = (pixels(tmp_path / f"{name}.png").shape for name in ("one", "six"))
    assert 1.5 * one[0] < six[0] < 3 * one[0]
    assert 3 * one[1] < six[1] < 5 * one[1]


def test_text_can_be_read_on_dark_and_light_cells() -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    colors = ScalarMappable(Normalize(0, 1), "cividis")
    assert plots._readable_on(colors, 0.0) == "white"
    assert plots._readable_on(colors, 1.0) == "black"


def test_a_heatmap_of_ties_is_one_colour(tmp_path: Path) -> None:
    rows = [result(T=T, alpha=0.5) for T in (1, 2)]
    assert plots.heatmap(rows, tmp_path / "a.png")
    pixels(tmp_path / "a.png")


def test_the_points_of_a_search_are_no_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = texts(monkeypatch)
    rows = [
        result(T=1 + n * 0.7, alpha=(n * 37 % 100) / 100, **{"val/acc": 0.9 + n / 999})
        for n in range(20)
    ]
    assert plots.heatmap(rows, tmp_path / "a.png")
    assert not found
    pixels(tmp_path / "a.png")


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [result(T=4.0, alpha=0.5, seed=seed) for seed in (0, 1)],
        [result(T=T, alpha=0.5, rest=f"optimizer.lr={T}") for T in (1.0, 2.0)],
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


def test_drawing_leaves_no_global_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)  # Optuna's plots use it
    plots.heatmap(grid(), tmp_path / "a.png")
    assert "matplotlib.pyplot" not in sys.modules
