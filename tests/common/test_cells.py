"""Cells: their names as fields, and whether their points are a table."""

import pytest

from kdsweep.common.cells import CellName, is_scattered


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("ce", CellName("ce", None, None, {})),
        ("kl T=4 alpha=0.5", CellName("kl", "4", "0.5", {})),
        (
            "kl T=4 alpha=0.5 loss@teacher.loss=dkd",
            CellName("kl", "4", "0.5", {"loss@teacher.loss": "dkd"}),
        ),
        (
            "fitnet+kl alpha=0.9 student.widths=[16, 32] x/y=a=b",
            CellName("fitnet+kl", None, "0.9", {"student.widths": "[16, 32]", "x/y": "a=b"}),
        ),
    ],
)
def test_a_name_is_parsed_into_its_fields_and_back(text: str, fields: CellName) -> None:
    assert CellName.parse(text) == fields
    assert str(fields) == text


def test_settings_are_in_the_order_of_the_name() -> None:
    name = CellName.parse("kl T=4 alpha=0.5 optimizer.lr=0.1")
    assert list(name.settings.items()) == [("T", "4"), ("alpha", "0.5"), ("optimizer.lr", "0.1")]


def test_points_are_scattered_where_a_table_would_be_mostly_holes() -> None:
    assert is_scattered([(float(n), n / 10) for n in range(9)])
    assert not is_scattered([(float(n), n / 10) for n in range(8)])  # few enough for a table
    assert not is_scattered([(float(n), alpha) for n in range(9) for alpha in (0.1, 0.9)])
