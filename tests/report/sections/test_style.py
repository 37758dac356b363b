"""How names are shown in figures, and which cells are drawn."""

import html

import pytest
from rows import rows

from kdsweep.common.text import escape_unprintable
from kdsweep.report.analysis.aggregate import Grid, grid
from kdsweep.report.sections.style import LONG, label, labels, select


def test_cells_are_chosen_from_all_over_the_ranking() -> None:
    made = [r for n in range(50) for r in rows(f"kl T={n + 1}", 0.5 + 0.005 * n, seeds=2)]
    found: Grid = grid([*made, *rows("ce", 0.4, seeds=2)])
    names = [cell.name for cell in select(found, 5)]
    assert names[0] == "kl T=50"
    assert {"kl T=49", "kl T=1", "ce"} <= set(names)
    assert len(names) == 5
    baseline = found.baseline_of(found.cells[0])
    assert baseline is not None
    assert baseline.name == "ce"
    assert len(select(found, 100)) == 51


def test_a_name_is_shown_without_markup_and_not_too_long() -> None:
    assert label("<b>kl</b>") == "&lt;b&gt;kl&lt;/b&gt;"
    assert len(label("x" * 200)) <= LONG + 2


@pytest.mark.parametrize("name", ["<b>cat</b>", "%{x}", "$x$", "a\udcffb", "50 %", "&lt;"])
def test_names_are_no_markup_for_plotly(name):
    shown = label(name)
    assert "<" not in shown
    assert "%" not in shown
    assert html.unescape(shown) == escape_unprintable(name)


def test_names_that_are_cut_stay_apart():
    names = ["x" * 50 + middle + "x" * 50 for middle in "abc"]
    assert len({*labels(names)}) == 3
    assert labels(["cat", "dog"]) == ["cat", "dog"]
    assert labels(["a", "a", "a (2)", "a"]) == ["a", "a (2)", "a (2) (2)", "a (3)"]
