"""The figures: what is drawn, what their sentences claim, and when there is none."""

import html
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from measured import MeasuredRun, ce_rows, measured, soft_row, soft_rows
from rows import Row, rows
from scipy import stats

from kdsweep.common.text import escape_unprintable
from kdsweep.report.analysis.aggregate import Grid, grid
from kdsweep.report.sections import (
    heatmap,
    importance,
    interaction,
    learning_curves,
    overfitting,
    pareto,
    response,
)
from kdsweep.report.sections.panels import panels
from kdsweep.report.sections.section import Section
from kdsweep.report.sections.style import LONG, baseline_of, label, labels, select
from kdsweep.report.sources.collection import Evidence

ALL = (heatmap, response, interaction, importance, learning_curves, overfitting, pareto)
SIZES = {"mlp": 9000, "cnn": 90_000, "vit": 900_000}


def told(module: Any, made: list[Row], **other: Any) -> Section | None:
    found = measured(made, **other)
    section: Section | None = module.section(found, grid(found.rows))
    return section


def drawn(module: Any, made: list[Row]) -> Section:
    section = told(module, made)
    assert section is not None
    return section


def text(section: Section) -> str:
    return " ".join(section.sentences)


def several_students() -> list[Row]:
    return [
        {**r, "student": name, "num_params": size, "latency_ms": size / 1e5, "test/acc": acc}
        for (name, size), bonus in zip(SIZES.items(), (0.0, 0.04, -0.02), strict=True)
        for r in soft_rows((4.0,), (0.5,), rest=f"student={name}")
        if (acc := r["test/acc"] + bonus)
    ]


@pytest.mark.parametrize("module", ALL, ids=lambda module: module.__name__.rpartition(".")[2])
def test_every_axis_says_what_it_shows_in_its_unit(module: Any) -> None:
    made = several_students() if module is pareto else [*ce_rows(), *soft_rows()]
    section = drawn(module, made)
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
    assert told(module, []) is None
    assert told(module, [{**r, "status": "RUNNING", "test/acc": None} for r in soft_rows()]) is None


@pytest.mark.parametrize("module", [heatmap, response, interaction, importance])
def test_one_seed_is_drawn_and_concludes_nothing(module: Any) -> None:
    said = text(drawn(module, [*ce_rows(seeds=1), *soft_rows(seeds=1)]))
    assert "One seed each" in said or "Fewer than two seeds" in said


def test_a_heatmap_has_mean_interval_seeds_and_marks() -> None:
    figure = drawn(heatmap, [*ce_rows(), *soft_rows()]).figures[0]
    boxes = figure.data[0]
    assert list(boxes.x) == ["1", "4", "16"]
    assert list(boxes.y) == ["0.5", "0.9"]
    best = next(t for line in boxes.text for t in line if heatmap.BEST in t)
    assert best.startswith("<b>93.")
    assert "±0." in best
    assert best.endswith(f"n=5 {heatmap.BEST}")
    assert sum(heatmap.TIED in t for line in boxes.text for t in line) == 1
    assert len(figure.layout.shapes) == 1, "the best box is framed"


def test_a_heatmap_of_one_seed_has_no_interval() -> None:
    boxes = drawn(heatmap, soft_rows(seeds=1)).figures[0].data[0]
    assert all("±" not in t and "n=1" in t for line in boxes.text for t in line)
    assert not any(heatmap.TIED in t for line in boxes.text for t in line)


def test_a_hole_in_the_grid_stays_empty() -> None:
    made = [r for r in soft_rows() if (r["T"], r["alpha"]) != (16, 0.9)]
    boxes = drawn(heatmap, made).figures[0].data[0]
    assert boxes.z[1][2] is None
    assert boxes.text[1][2] == ""


def test_a_search_is_drawn_as_points() -> None:
    made = [soft_row(1 + 0.37 * n, 0.07 * n, s, 0.9) for n in range(12) for s in range(2)]
    figure = drawn(heatmap, made).figures[0]
    assert figure.data[0].mode == "markers"
    assert figure.layout.xaxis.type == "log"
    assert drawn(response, made).figures[0].data[0].mode == "markers"


def test_what_else_varies_has_panels_and_too_many_are_said() -> None:
    made = [r for n in range(8) for r in soft_rows(seeds=2, rest=f"optimizer.lr={n}")]
    section = drawn(heatmap, made)
    assert len(section.figures[0].data) == heatmap.MOST_PANELS
    assert "2 more panels are left out" in text(section)
    assert "first 4 of 8 panels" in text(drawn(response, made))


def test_cells_without_T_or_alpha_make_no_panel() -> None:
    assert told(heatmap, ce_rows()) is None
    assert told(response, [*ce_rows(), *soft_rows((4,), (0.5,))]) is None


def test_a_response_has_bars_lines_and_the_band_of_the_baseline() -> None:
    section = drawn(response, [*ce_rows(), *soft_rows()])
    figure = section.figures[0]
    names = [trace.name for trace in figure.data]
    assert names == ["ce", "ce", "alpha=0.5", "alpha=0.9", "ce", "ce", "T=1", "T=4", "T=16"]
    assert figure.layout.xaxis.type == "log"
    assert list(figure.layout.xaxis.ticktext) == ["1", "4", "16"]
    line = figure.data[2]
    assert all(width > 0 for width in line.error_y.array)
    assert line.y[1] == max(line.y)
    assert "over T the mean moves by 7." in text(section)
    assert "at T=4." in text(section)


def test_a_response_over_T_alone_has_one_panel() -> None:
    figure = drawn(response, soft_rows(alphas=(0.5,))).figures[0]
    assert [trace.name for trace in figure.data] == ["alpha=0.5"]


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
    said = text(drawn(interaction, made))
    assert "all boxes have the same mean" in said
    assert "no spread" in said


def test_an_interaction_asks_for_a_complete_table() -> None:
    assert told(interaction, [r for r in soft_rows() if r["T"] != 16 or r["alpha"] != 0.9]) is None
    assert told(interaction, soft_rows(alphas=(0.5,))) is None


def test_only_seeds_of_all_boxes_count_in_an_interaction() -> None:
    made = [r for r in soft_rows() if (r["T"], r["alpha"], r["seed"]) != (4, 0.5, 2)]
    assert interaction.shared_seeds(panels(grid(made))[0]) == [0, 1, 3, 4]


def test_the_key_that_matters_is_the_most_important_one() -> None:
    section = drawn(importance, [*ce_rows(), *soft_rows((1, 2, 4, 8))])
    assert section.sentences[0].startswith("T explains most")
    assert "over 40 runs of 8 cells" in section.sentences[0]
    bars = section.figures[0].data[0]
    assert set(bars.y) == {"T", "alpha", "seed"}
    assert sum(bars.x) == pytest.approx(100, abs=0.1)
    assert list(bars.x) == sorted(bars.x)


def test_importance_asks_for_two_keys_and_enough_cells() -> None:
    assert told(importance, [*ce_rows(), *soft_rows((1, 2, 4, 8), (0.5,))]) is None
    assert told(importance, soft_rows((1.0, 4.0), (0.5,))) is None


def test_words_of_a_cell_may_hold_spaces() -> None:
    made = [
        {**r, "loss": "kl"} for r in rows("kl T=4 student.widths=[16, 32] optimizer.lr=0.1", 0.9)
    ]
    assert importance.words(grid(made).cells[0]) == {
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
    assert drawn(importance, made).sentences[0].startswith("student explains most")


def test_curves_are_those_of_the_best_its_baseline_and_a_few() -> None:
    made = measured([*ce_rows(), *soft_rows((1, 2, 4, 8, 16))])
    found = grid(made.rows)
    section = learning_curves.section(made, found)
    assert section is not None
    lines = [trace for trace in section.figures[0].data if trace.fill is None]
    assert len(lines) == learning_curves.MOST_CELLS
    assert {"ce", found.cells[0].name} <= {line.name for line in lines}
    bands = [trace for trace in section.figures[0].data if trace.fill == "toself"]
    assert len(bands) == 2
    assert "8 of 11 cells are drawn" in text(section)
    read = [run for run in made.runs if isinstance(run, MeasuredRun) and run.reads]
    assert len(read) == 5 * learning_curves.MOST_CELLS, "other histories stay unread"


def test_one_epoch_is_no_curve() -> None:
    class Short(MeasuredRun):
        @property
        def history(self) -> list[Any]:
            return super().history[:1]

    made = soft_rows()
    found = Evidence("short", [Short(r) for r in made], Path())
    assert learning_curves.section(found, grid(made)) is None
    assert overfitting.section(found, grid(made)) is None


def test_the_gap_of_the_last_epoch_is_said() -> None:
    section = drawn(overfitting, [*ce_rows(), *soft_rows()])
    assert "ce +5.00 points" in section.sentences[0]
    assert len(section.figures[0].data) == 6


def test_the_front_has_what_nothing_cheaper_beats() -> None:
    section = drawn(pareto, several_students())
    assert "alpha=0.5 student=mlp, kl T=4 alpha=0.5 student=cnn: no" in section.sentences[0]
    assert "student=vit" not in section.sentences[0]
    assert [axis.type for axis in section.figures[0].select_xaxes()] == ["log", "log"]


def test_the_front_is_made_of_what_validation_chose() -> None:
    lucky = [
        {**r, "num_params": 10, "latency_ms": 1.0, "val/acc": 0.1}
        for r in soft_rows((8.0,), (0.5,), rest="student=small", student="small")
    ]
    chosen = [
        {**r, "num_params": 10, "latency_ms": 1.0, "test/acc": r["test/acc"] - 0.2}
        for r in soft_rows((4.0,), (0.5,), rest="student=small", student="small")
    ]
    found = pareto.students(grid([*lucky, *chosen]).cells)
    assert [student.first.name for student in found] == ["kl T=4 alpha=0.5 student=small"]
    assert pareto.frontier(found, "num_params") == found
    assert len(found[0].cells) == 2


def test_students_of_one_size_have_no_front() -> None:
    assert told(pareto, soft_rows(num_params=9000, latency_ms=0.1)) is None


def test_cells_are_chosen_from_all_over_the_ranking() -> None:
    made = [r for n in range(50) for r in rows(f"kl T={n + 1}", 0.5 + 0.005 * n, seeds=2)]
    found: Grid = grid([*made, *rows("ce", 0.4, seeds=2)])
    names = [cell.name for cell in select(found, 5)]
    assert names[0] == "kl T=50"
    assert {"kl T=49", "kl T=1", "ce"} <= set(names)
    assert len(names) == 5
    baseline = baseline_of(found, found.cells[0])
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
