import math
from pathlib import Path

import pytest
from pictures import panel_titles, pixels

from kdsweep.plotting.curves import draw_curves
from kdsweep.tracking.run_dir import make_row


@pytest.mark.ci
@pytest.mark.parametrize("epochs", [1, pytest.param(30, marks=pytest.mark.slow)])
def test_curves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs: int) -> None:
    titles = panel_titles(monkeypatch)
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
    draw_curves([*rows, make_row(epochs - 1, 0, {"test/acc": 0.6})], tmp_path / "a.png", "run 0")
    pixels(tmp_path / "a.png")
    assert titles == ["Accuracy", "Loss (terms unscaled)", "Learning rate"]


@pytest.mark.ci
def test_curves_of_a_run_without_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles = panel_titles(monkeypatch)
    draw_curves([make_row(0, 0, {"train/loss": 1.0})], tmp_path / "a.png")
    pixels(tmp_path / "a.png")
    assert titles == ["Accuracy", "Loss (terms unscaled)"]
