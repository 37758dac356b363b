"""What choosing and reporting otherwise would have claimed."""

import pytest
from measured import ce_rows, measured, soft_rows
from rows import Row, rows

from kdsweep.report.analysis.aggregate import grid
from kdsweep.report.sections import selection_bias
from kdsweep.report.sections.section import Section


def section_of(made: list[Row], optimism: float | None = None) -> Section:
    found = measured(made, optimism=optimism)
    section = selection_bias.section(found, grid(found.rows))
    assert section is not None
    return section


def lucky(made: list[Row], cell: str, bonus: float) -> list[Row]:
    return [{**r, "val/acc": r["val/acc"] + bonus * (r["cell"] == cell)} for r in made]


def test_the_bias_of_the_choice_is_that_against_the_average_cell() -> None:
    made = lucky([*ce_rows(), *soft_rows()], "kl T=4 alpha=0.9", 0.07)
    sentences = section_of(made).sentences[0]
    assert sentences.startswith(
        "Validation minus test is +7.00 points for the best of 7 cells and +1.00"
    )
    assert "The +6.00 between them" in sentences


def test_the_cell_that_test_would_have_chosen_is_named() -> None:
    made = lucky([*ce_rows(), *soft_rows()], "kl T=1 alpha=0.5", 0.2)
    sentences = " ".join(section_of(made).sentences)
    assert "Chosen on test it would have been kl T=4 alpha=0.9, 93." in sentences
    sentences = " ".join(section_of(soft_rows()).sentences)
    assert "The chosen cell is also the highest on test." in sentences


def test_last_and_best_epoch_stand_side_by_side() -> None:
    made = [{**r, "val/acc_best": r["val/acc"] + 0.02} for r in soft_rows()]
    section = section_of(made)
    assert "on validation the best epoch of kl T=4 alpha=0.9 is 2.00 points higher" in " ".join(
        section.sentences
    )
    line = dict(zip(section.tables[0].header, section.tables[0].rows[0], strict=True))
    assert float(line["best epoch"]) - float(line["val/acc"]) == pytest.approx(2, abs=0.011)
    assert line["gain"] == "+2.00"


def test_the_optimism_gap_is_known_where_test_was_measured_every_epoch() -> None:
    section = section_of(soft_rows(), optimism=0.013)
    assert "1.30 points higher (the optimism gap)" in section.sentences[-1]
    assert {line[-1] for line in section.tables[0].rows} == {"+1.30"}
    without = section_of(soft_rows())
    assert "optimism" not in without.tables[0].header
    assert "trainer.test_curve=true" in without.tables[0].note
    assert all(len(line) == len(without.tables[0].header) for line in without.tables[0].rows)


def test_without_held_out_data_there_is_no_section() -> None:
    found = measured([{**r, "val/acc": None} for r in soft_rows()])
    assert selection_bias.section(found, grid(found.rows)) is None


def test_only_finished_runs_count_in_a_best_epoch() -> None:
    made = [{**r, "val/acc_best": 0.9} for r in rows("kl T=4", 0.8)]
    made.append({**made[0], "seed": 9, "status": "PRUNED", "test/acc": None, "val/acc_best": 0.1})
    assert selection_bias.best_epoch_mean(grid(made).cells[0]) == pytest.approx(0.9)
