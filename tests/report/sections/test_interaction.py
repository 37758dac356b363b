"""The interaction of T and alpha."""

from itertools import product

import pytest
from measured import drawn_section, section_of, soft_row, soft_rows, text
from scipy import stats

from kdsweep.report.analysis.aggregate import grid
from kdsweep.report.sections import interaction
from kdsweep.report.sections.panels import panels


def test_additive_effects_leave_no_interaction() -> None:
    made = [
        soft_row(T, alpha, 0, 0.8 + 0.01 * T + 0.1 * alpha)
        for T, alpha in product((1.0, 2.0, 4.0), (0.5, 0.9))
    ]
    found = interaction.effects(panels(grid(made))[0])
    assert found.rest == pytest.approx(dict.fromkeys(found.rest, 0.0), abs=1e-3)
    assert sum(found.shares) == pytest.approx(1)
    assert found.shares[2] == pytest.approx(0, abs=1e-6)


def test_effects_and_interaction_add_up_to_the_means() -> None:
    panel = panels(grid(soft_rows()))[0]
    found = interaction.effects(panel)
    for T, alpha in panel.cells:
        parts = found.of_T[T] + found.of_alpha[alpha] + found.rest[T, alpha]
        assert 100 * panel.grand_mean + parts == pytest.approx(100 * panel.mean(T, alpha), abs=1e-3)


def test_p_of_an_interaction_of_two_by_two_is_that_of_the_paired_contrast() -> None:
    made = soft_rows((1.0, 4.0), (0.5, 0.9))
    acc = {(r["T"], r["alpha"], r["seed"]): r["test/acc"] for r in made}
    contrast = [
        acc[1.0, 0.5, s] - acc[1.0, 0.9, s] - acc[4.0, 0.5, s] + acc[4.0, 0.9, s] for s in range(5)
    ]
    panel = panels(grid(made))[0]
    found = interaction.p_of_interaction(panel, interaction.shared_seeds(panel))
    assert found == pytest.approx(stats.ttest_1samp(contrast, 0).pvalue, rel=1e-6)


def test_an_interaction_without_spread_is_not_tested() -> None:
    made = [soft_row(T, a, s, 0.9) for T in (1.0, 4.0) for a in (0.5, 0.9) for s in range(3)]
    sentence = text(drawn_section(interaction, made))
    assert "all boxes have the same mean" in sentence
    assert "no spread" in sentence


def test_an_interaction_needs_a_complete_table() -> None:
    assert (
        section_of(interaction, [r for r in soft_rows() if r["T"] != 16 or r["alpha"] != 0.9])
        is None
    )
    assert section_of(interaction, soft_rows(alphas=(0.5,))) is None


def test_only_seeds_of_all_boxes_count_in_an_interaction() -> None:
    made = [r for r in soft_rows() if (r["T"], r["alpha"], r["seed"]) != (4, 0.5, 2)]
    assert interaction.shared_seeds(panels(grid(made))[0]) == [0, 1, 3, 4]
