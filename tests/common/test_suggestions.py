"""The option that a mistyped word most likely means."""

import pytest

from kdsweep.common.suggestions import nearest


@pytest.mark.parametrize(
    ("word", "options", "option"),
    [
        ("betass", ["lr", "betas", "eps"], "betas"),
        ("Widht", ["depth", "width"], "width"),
        ("t", ["T", "alpha"], "T"),
        ("foo", ["lr", "betas"], None),
        ("foo", [], None),
        ("", ["lr"], None),
    ],
)
def test_nearest(word: str, options: list[str], option: str | None) -> None:
    assert nearest(word, options) == option
