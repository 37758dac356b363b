"""T x alpha as a table of colours, and as points where a search has made them."""

import pytest
from measured import ce_rows, drawn_section, section_of, soft_row, soft_rows, text

from kdsweep.report.sections import heatmap, response


def test_a_heatmap_has_mean_interval_seeds_and_marks() -> None:
    figure = drawn_section(heatmap, [*ce_rows(), *soft_rows()]).figures[0]
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
    boxes = drawn_section(heatmap, soft_rows(seeds=1)).figures[0].data[0]
    assert all("±" not in t and "n=1" in t for line in boxes.text for t in line)
    assert not any(heatmap.TIED in t for line in boxes.text for t in line)


def test_a_hole_in_the_grid_stays_empty() -> None:
    made = [r for r in soft_rows() if (r["T"], r["alpha"]) != (16, 0.9)]
    boxes = drawn_section(heatmap, made).figures[0].data[0]
    assert boxes.z[1][2] is None
    assert boxes.text[1][2] == ""


def test_a_search_is_drawn_as_points() -> None:
    made = [soft_row(1 + 0.37 * n, 0.07 * n, s, 0.9) for n in range(12) for s in range(2)]
    figure = drawn_section(heatmap, made).figures[0]
    assert figure.data[0].mode == "markers"
    assert figure.layout.xaxis.type == "log"
    assert drawn_section(response, made).figures[0].data[0].mode == "markers"


@pytest.mark.ci
def test_other_keys_have_panels_and_further_ones_are_counted() -> None:
    made = [r for n in range(8) for r in soft_rows(seeds=2, rest=f"optimizer.lr={n}")]
    section = drawn_section(heatmap, made)
    assert len(section.figures[0].data) == heatmap.MOST_PANELS
    assert "2 more panels are left out" in text(section)
    assert "first 4 of 8 panels" in text(drawn_section(response, made))


def test_cells_without_T_or_alpha_make_no_panel() -> None:
    assert section_of(heatmap, ce_rows()) is None
    assert section_of(response, [*ce_rows(), *soft_rows((4,), (0.5,))]) is None
