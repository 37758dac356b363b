"""The space of a study in Hydra's words."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import IntDistribution, distribution_to_json

from kdsweep.search.space import Space, parse
from kdsweep.search.space_text import distribution_text, space_changes


def space(*words: str) -> dict[str, str]:
    found: Space = parse(words, lambda key, loss: True)
    return found.describe()


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("T=16,1,4", "choice(16, 1, 4)"),
        ("loss=kl,ce", "choice(kl, ce)"),
        ("T=interval(1.0,4.0)", "interval(1.0, 4.0)"),
        ("T=tag(log,interval(1.0,4.0))", "tag(log, interval(1.0, 4.0))"),
        ("T=int(interval(1,4))", "int(interval(1, 4))"),
        ("T=range(0.5,1.5,0.5)", "range(0.5, 1.0, step=0.5)"),
    ],
)
def test_a_distribution_is_written_as_on_a_command_line(word: str, text: str) -> None:
    (distribution,) = space(word).values()
    assert distribution_text(distribution) == text
    OverridesParser.create().parse_override(f"T={text}")  # it is one that Hydra reads


def test_whole_steps_of_a_range() -> None:
    assert distribution_text(distribution_to_json(IntDistribution(1, 9, step=2))) == (
        "range(1, 9, step=2)"
    )


def test_a_distribution_of_another_version_is_left_as_it_is() -> None:
    assert distribution_text("1 to 4") == "1 to 4"


def test_a_reordered_choice_of_numbers_or_words() -> None:
    assert list(space_changes(space("T=1,4,16"), space("T=16,4,1"))) == [
        ("T", "choice(1, 4, 16)", "choice(16, 4, 1)")
    ]
    assert list(space_changes(space("loss=kl,ce", "T=1,2"), space("loss=ce,kl", "T=1,2"))) == [
        ("loss", "choice(kl, ce)", "choice(ce, kl)")
    ]


def test_keys_that_are_searched_no_more_or_anew() -> None:
    assert list(space_changes(space("T=1,4"), space("alpha=0,1"))) == [
        ("T", "choice(1, 4)", "not searched"),
        ("alpha", "not searched", "choice(0, 1)"),
    ]
    assert list(space_changes(space("T=1,4"), space("T=1,4"))) == []
