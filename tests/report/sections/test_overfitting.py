"""The gap between training and validation."""

from measured import ce_rows, drawn_section, soft_rows

from kdsweep.report.sections import overfitting


def test_the_gap_of_the_last_epoch_is_in_the_text() -> None:
    section = drawn_section(overfitting, [*ce_rows(), *soft_rows()])
    assert "ce +5.00 points" in section.sentences[0]
    assert len(section.figures[0].data) == 6
