"""Words of a command line that are no overrides: what is wrong with each."""

import pytest

from kdsweep.config.malformed import parse

FAULTS = {
    "alpha": "alpha must be followed by = and a value, alpha=VALUE, got alpha",
    "T = 4": "T must be written without spaces around =, T=4, got T = 4",
    "T 4": "a word of the command line must be KEY=VALUE, got T 4",
    "=4": "a word of the command line must be KEY=VALUE, got =4",
    "": "a word of the command line must be KEY=VALUE, got an empty word",
    "T=[4": "T must have a closing ], got [4",
    "T=4]": "T must have an opening bracket for each ], got 4]",
    "T={a:1": "T must have a closing }, got {a:1",
    "T='4": "T must have a closing ', got '4",
    'T="4': 'T must have a closing ", got "4',
    "T=range(4": "T must have a closing ), got range(4",
    "T=${alpha": "T must have a closing }, got ${alpha",
    "T=4,": "T must have a value on both sides of each comma, got 4,",
    "T=a=b": "T must have its value in quotes, 'a=b', got a=b",
    "T=é": "T must have its value in quotes, 'é', got é",
    "T=interval(1)": (
        "T must be a call that interval takes, got interval(1): missing a required argument: 'end'"
    ),
    "trainer..epochs=3": (
        "trainer..epochs must be a key of names with dots between them, got trainer..epochs=3"
    ),
}


@pytest.mark.parametrize("word", FAULTS)
def test_a_word(word: str) -> None:
    assert parse([word]) == ([], [FAULTS[word]])


def test_an_unknown_function() -> None:
    _, (sentence,) = parse(["T=rnage(4)"])
    assert sentence.startswith("T must be a value or a call of one of bool, choice, ")
    assert sentence.endswith(", got rnage(4); did you mean range?")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["T", "=", "4"], "T must be written without spaces, T=4, got T = 4"),
        (["T", "=4"], "T must be written without spaces, T=4, got T =4"),
        (["T=", "4"], "T must be written without spaces, T=4, got T= 4"),
        (
            ["loss=[kl,", "ce]"],
            "loss must be written without spaces, loss=[kl,ce], got loss=[kl, ce]",
        ),
        (["T=1,", "4"], "T must be written without spaces, T=1,4, got T=1, 4"),
    ],
)
def test_words_that_are_one(words: list[str], sentence: str) -> None:
    overrides, found = parse(["seed=1", *words, "alpha=0.5"])
    assert [override.key_or_group for override in overrides] == ["seed", "alpha"]
    assert found == [sentence]


def test_words_that_stand_alone() -> None:
    overrides, found = parse(["T=", "alpha=0.5", "loss=[kl", "seed=1"])
    assert [override.key_or_group for override in overrides] == ["T", "alpha", "seed"]
    assert found == ["loss must have a closing ], got [kl"]
