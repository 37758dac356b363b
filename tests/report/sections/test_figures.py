"""What all sections with figures have in common: titles of axes, and when there is none."""

from typing import Any

import pytest
from measured import ce_rows, drawn_section, section_of, several_students, soft_rows, text

from kdsweep.report.sections import (
    heatmap,
    importance,
    interaction,
    learning_curves,
    overfitting,
    pareto,
    response,
)

ALL = (heatmap, response, interaction, importance, learning_curves, overfitting, pareto)


@pytest.mark.parametrize("module", ALL, ids=lambda module: module.__name__.rpartition(".")[2])
def test_every_axis_has_a_title_with_its_unit(module: Any) -> None:
    made = several_students() if module is pareto else [*ce_rows(), *soft_rows()]
    section = drawn_section(module, made)
    assert section.title == module.TITLE
    assert section.sentences
    for figure in section.figures:
        described = [axis.title.text for axis in (*figure.select_xaxes(), *figure.select_yaxes())]
        assert any(described)
        written = figure.to_json()
        assert "NaN" not in written
        assert "acc" not in written or "(%)" in written or "(points)" in written


@pytest.mark.parametrize("module", ALL, ids=lambda module: module.__name__.rpartition(".")[2])
def test_without_a_finished_run_there_is_no_figure(module: Any) -> None:
    assert section_of(module, []) is None
    assert (
        section_of(module, [{**r, "status": "RUNNING", "test/acc": None} for r in soft_rows()])
        is None
    )


@pytest.mark.parametrize("module", [heatmap, response, interaction, importance])
def test_one_seed_is_drawn_and_concludes_nothing(module: Any) -> None:
    sentence = text(drawn_section(module, [*ce_rows(seeds=1), *soft_rows(seeds=1)]))
    assert "One seed each" in sentence or "Fewer than two seeds" in sentence
