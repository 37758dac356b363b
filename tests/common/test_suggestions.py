"""The option that a mistyped word most likely means."""

import pytest

from kdsweep.common.suggestions import did_you_mean, nearest, nearest_first


@pytest.mark.parametrize(
    ("word", "options", "option"),
    [
        ("betass", ["lr", "betas", "eps"], "betas"),
        ("Widht", ["depth", "width"], "width"),
        ("t", ["T", "alpha"], "T"),
        ("stage9", ["halve", "stage2", "stage1"], "stage2"),
        ("foo", ["lr", "betas"], None),
        ("foo", [], None),
        ("", ["lr"], None),
    ],
)
def test_nearest(word: str, options: list[str], option: str | None) -> None:
    assert nearest(word, options) == option


def test_the_end_of_a_refusal() -> None:
    assert did_you_mean("betass", ["lr", "betas"], "optimizer.") == (
        "; did you mean optimizer.betas?"
    )
    assert did_you_mean("foo", ["lr", "betas"]) == ""


def test_options_are_listed_by_similarity() -> None:
    assert nearest_first("betass", ["lr", "betas", "beta", "eps"]) == ["betas", "beta", "eps", "lr"]
