"""The name of a cell as fields."""

import pytest

from kdsweep.common.cell_name import CellName


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
