"""Intervals of all cells, and how many seeds would settle a tie."""

import pytest
from measured import ce_rows, measured, soft_rows
from rows import NOISE, Row, row, rows

from kdsweep.report.analysis.aggregate import grid
from kdsweep.report.sections import comparisons
from kdsweep.report.sections.section import Section


def section_of(made: list[Row]) -> Section | None:
    found = measured(made)
    return comparisons.section(found, grid(found.rows))


def lines(made: list[Row]) -> dict[str, dict[str, str]]:
    section = section_of(made)
    assert section is not None
    table = section.tables[0]
    return {line[0]: dict(zip(table.header, line, strict=True)) for line in table.rows}


def test_both_intervals_are_shown_from_five_seeds_on() -> None:
    of_five, of_four = (lines(soft_rows(seeds=seeds))["kl T=4 alpha=0.9"] for seeds in (5, 4))
    assert of_five["95 % (t)"].startswith("[92.")
    assert of_five["95 % (BCa)"].startswith("[9")
    assert of_four["95 % (t)"]
    assert "95 % (BCa)" not in of_four, "nor is an empty column"


def test_the_best_is_compared_with_nothing() -> None:
    best = lines(soft_rows())["kl T=4 alpha=0.9"]
    assert {best[key] for key in ("to best", "p", "finds", "seeds")} == {""}


def test_a_tie_has_its_detectable_difference_and_the_seeds_it_needs() -> None:
    found = lines([*ce_rows(), *soft_rows()])["kl T=4 alpha=0.5"]
    assert found["to best"].startswith("-0.04 [")
    assert float(found["finds"]) > 0.04
    assert found["seeds"] == ">1000" or int(found["seeds"]) > 5


def test_how_many_ties_more_seeds_would_settle_is_there_once_a_step() -> None:
    near = [row("kl T=1", s, 0.9 - 0.001 + 0.3 * NOISE[(s + 2) % 5]) for s in range(5)]
    section = section_of([*rows("kl T=4", 0.9, 0.3), *near])
    assert section is not None
    assert section.sentences[0].startswith("Of the tie with the best, were the differences as")
    assert section.sentences[0].count("would settle 1") == 1


def test_equal_cells_would_be_settled_by_no_number_of_seeds() -> None:
    equal = [row("kl T=1", s, 0.9 + NOISE[(s + 1) % 5]) for s in range(5)]
    section = section_of([*rows("kl T=4", 0.9), *equal])
    assert section is not None
    assert "1000 seeds would not settle the tie" in section.sentences[0]


def test_one_seed_has_no_interval() -> None:
    assert section_of(soft_rows(seeds=1)) is None


def test_many_cells_are_cut_with_a_sentence() -> None:
    section = section_of([r for n in range(30) for r in rows(f"kl T={n}", 0.5 + 0.01 * n, seeds=3)])
    assert section is not None
    assert len(section.tables[0].rows) == comparisons.MOST_CELLS
    assert section.sentences[-1] == "The first 25 of 30 cells, by validation."


@pytest.mark.parametrize("best", [True, False])
def test_without_a_chosen_cell_there_is_no_difference_to_it(best: bool) -> None:
    made = [{**r, "val/acc": r["val/acc"] if best else None} for r in soft_rows()]
    assert any(line.get("to best") for line in lines(made).values()) is best
