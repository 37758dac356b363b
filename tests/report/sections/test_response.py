"""Accuracy over T and over alpha."""

from measured import ce_rows, drawn_section, soft_rows, text

from kdsweep.report.sections import response


def test_a_response_has_bars_lines_and_the_band_of_the_baseline() -> None:
    section = drawn_section(response, [*ce_rows(), *soft_rows()])
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
    figure = drawn_section(response, soft_rows(alphas=(0.5,))).figures[0]
    assert [trace.name for trace in figure.data] == ["alpha=0.5"]
