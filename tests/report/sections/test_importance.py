"""The importance of the swept keys."""

from collections.abc import Callable
from itertools import product

import pytest
from measured import ce_rows, drawn_section, section_of, soft_row, soft_rows
from rows import rows

from kdsweep.report.analysis.aggregate import grid
from kdsweep.report.sections import importance


def test_the_key_that_matters_is_the_most_important_one() -> None:
    section = drawn_section(importance, [*ce_rows(), *soft_rows((1, 2, 4, 8))])
    assert section.sentences[0].startswith("T explains most")
    assert "over 40 runs of 8 cells" in section.sentences[0]
    bars = section.figures[0].data[0]
    assert set(bars.y) == {"T", "alpha", "seed"}
    assert sum(bars.x) == pytest.approx(100, abs=0.1)
    assert list(bars.x) == sorted(bars.x)


def test_importance_needs_two_keys_and_enough_cells() -> None:
    assert section_of(importance, [*ce_rows(), *soft_rows((1, 2, 4, 8), (0.5,))]) is None
    assert section_of(importance, soft_rows((1.0, 4.0), (0.5,))) is None


def test_settings_of_a_cell_may_contain_spaces() -> None:
    made = [
        {**r, "loss": "kl"} for r in rows("kl T=4 student.widths=[16, 32] optimizer.lr=0.1", 0.9)
    ]
    assert importance.settings(grid(made).cells[0]) == {
        "loss": "kl",
        "T": "4",
        "student.widths": "[16, 32]",
        "optimizer.lr": "0.1",
    }


def test_names_may_be_keys_too() -> None:
    made = [
        soft_row(
            T, 0.5, s, 0.8 + (0.1 if student == "cnn" else 0) + 0.001 * s, f"student={student}"
        )
        for T, student, s in product((1.0, 4.0), ("mlp", "cnn"), range(3))
    ]
    assert drawn_section(importance, made).sentences[0].startswith("student explains most")


def made(accuracy: Callable[[float, float, int], float]) -> list[importance.Measured]:
    """A run of each T and alpha with two seeds."""
    return [
        ({"T": str(T), "alpha": str(alpha), "seed": str(seed)}, accuracy(T, alpha, seed))
        for T, alpha, seed in product((1, 4), (0.1, 0.5), (0, 1))
    ]


def test_shares_of_a_complete_grid_are_its_main_effects() -> None:
    shares = importance.main_effects(made(lambda T, alpha, seed: T + 2.5 * alpha + 0.5 * seed))
    effects = {"T": 1.5**2, "alpha": 0.5**2, "seed": 0.25**2}
    total = sum(effects.values())
    assert shares == pytest.approx({key: effect / total for key, effect in effects.items()})
    assert list(shares) == ["T", "alpha", "seed"]


def test_an_interaction_alone_and_an_incomplete_grid_have_no_main_effects() -> None:
    assert importance.main_effects(made(lambda T, alpha, seed: (T > 1) ^ (alpha > 0.2))) is None
    assert importance.main_effects(made(lambda T, alpha, seed: T)[1:]) is None


@pytest.mark.ci
def test_a_forest_agrees_with_the_main_effects() -> None:
    runs = made(lambda T, alpha, seed: T + 2.5 * alpha + 0.5 * seed)
    assert list(importance.importances(runs)) == list(importance.main_effects(runs) or ())


@pytest.mark.ci
def test_a_sentence_says_where_a_forest_was_fitted() -> None:
    complete = soft_rows((1, 2, 4, 8))
    assert "forest" not in section_of(importance, complete).sentences[0]
    assert "forest" in section_of(importance, complete[1:]).sentences[0]
