"""Validation accuracy over T and alpha: which panels and cells there are, and what is in them."""

import sys
from pathlib import Path
from typing import Any

import pytest
from pictures import cell_texts, panel_titles, pixels

from kdsweep.plotting.heatmap import draw_heatmap
from kdsweep.tracking.results_table import COLUMNS


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


def test_the_heatmap_writes_the_mean_over_seeds_and_their_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = cell_texts(monkeypatch)
    rows = [
        result(T=16, alpha=0.9, **{"val/acc": 0.96}),
        result(T=16.0, alpha=0.9, seed=1, **{"val/acc": 0.98}),
        result(T=16.0, alpha=0.9, **{"val/acc": 0.1}, same_as=0),
        result(T=1.0, alpha=0.1, **{"val/acc": 0.95}),
        result(T=4.0, alpha=0.1, **{"val/acc": None}),
    ]
    assert draw_heatmap(rows, tmp_path / "a.png") is True
    assert set(texts) == {"0,0: 95.00\nn=1", "1,1: 97.00\nn=2"}
    pixels(tmp_path / "a.png")


@pytest.mark.ci
def test_what_else_is_swept_has_a_panel_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles, texts = panel_titles(monkeypatch), cell_texts(monkeypatch)
    rows = [
        result(T=T, alpha=0.5, rest=f"optimizer.lr={lr}", **{"val/acc": acc})
        for T, lr, acc in [(1, 0.001, 0.5), (1, 0.02, 0.9), (4, 0.001, 0.6), (4, 0.02, 0.8)]
    ]
    assert draw_heatmap(rows, tmp_path / "a.png") is True
    assert titles == ["kl optimizer.lr=0.001", "kl optimizer.lr=0.02"]
    assert texts == [
        "0,0: 50.00\nn=1",
        "1,0: 60.00\nn=1",
        "0,0: 90.00\nn=1",
        "1,0: 80.00\nn=1",
    ]


def test_a_run_that_does_not_follow_T_and_alpha_has_no_panel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles = panel_titles(monkeypatch)
    rows = [*grid(), *grid("ce", T=None, alpha=None), *grid("mse", T=None)]
    assert draw_heatmap(rows, tmp_path / "a.png") is True
    assert titles == ["kl"]


def test_panels_of_one_point_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    titles = panel_titles(monkeypatch)
    rows = [*grid(), result("soft_ce", T=4.0, alpha=0.5)]
    assert draw_heatmap(rows, tmp_path / "a.png") is True
    assert titles == ["kl"]


@pytest.mark.slow
def test_many_panels_stand_in_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    titles = panel_titles(monkeypatch)
    assert draw_heatmap(grid(), tmp_path / "one.png")
    long = "student.model.dropout=0.5 optimizer.weight_decay=0.0005"
    rows = [row for lr in range(5) for row in grid(rest=f"optimizer.lr={lr} {long}")]
    assert draw_heatmap([*grid("mse"), *rows], tmp_path / "six.png")
    assert titles[-1].split() == ["mse"]
    assert titles[1].split() == ["kl", "optimizer.lr=0", *long.split()]
    one, six = (pixels(tmp_path / f"{name}.png").shape for name in ("one", "six"))
    assert 1.5 * one[0] < six[0] < 3 * one[0]
    assert 3 * one[1] < six[1] < 5 * one[1]


def test_a_heatmap_of_ties_is_one_colour(tmp_path: Path) -> None:
    rows = [result(T=T, alpha=0.5) for T in (1, 2)]
    assert draw_heatmap(rows, tmp_path / "a.png")
    pixels(tmp_path / "a.png")


@pytest.mark.ci
def test_the_points_of_a_search_are_no_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = cell_texts(monkeypatch)
    rows = [
        result(T=1 + n * 0.7, alpha=(n * 37 % 100) / 100, **{"val/acc": 0.9 + n / 999})
        for n in range(20)
    ]
    assert draw_heatmap(rows, tmp_path / "a.png")
    assert not texts
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
    assert draw_heatmap(rows, tmp_path / "a.png") is False
    assert not (tmp_path / "a.png").exists()


@pytest.mark.ci
def test_drawing_leaves_no_global_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)  # Optuna's plots use it
    draw_heatmap(grid(), tmp_path / "a.png")
    assert "matplotlib.pyplot" not in sys.modules
