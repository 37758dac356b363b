"""The key that a mistyped one most likely means, and lists of names."""

import pytest

from kdsweep.config.keys import did_you_mean_key, listed, names_below, nearest_key

KEYS = [
    *("T", "alpha", "seed", "trainer", "trainer.epochs", "trainer.device", "teacher"),
    *("teacher.trainer", "teacher.trainer.epochs", "teacher.optimizer.lr", "optimizer.lr"),
    *("tracking", "tracking.wait"),
]


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("temprature", "T"),
        ("Temperature", "T"),
        ("learning_rate", "optimizer.lr"),
        ("epochs", "trainer.epochs"),
        ("epoch", "trainer.epochs"),
        ("lr", "optimizer.lr"),
        ("trainer.lr", "optimizer.lr"),
        ("trianer.epochs", "trainer.epochs"),
        ("teacher.trainr.epoch", "teacher.trainer.epochs"),
        ("sed", "seed"),
        ("warmth", None),
        ("zzz.yyy", None),
        ("", None),
    ],
)
def test_the_nearest_key(key: str, meant: str | None) -> None:
    assert nearest_key(key, KEYS) == meant
    assert did_you_mean_key(key, KEYS) == ("" if meant is None else f"; did you mean {meant}?")


def test_a_synonym_of_a_key_that_there_is_not() -> None:
    assert nearest_key("temprature", ["alpha", "seed"]) is None


def test_names_right_below_a_key() -> None:
    assert names_below("trainer", KEYS) == ["epochs", "device"]
    assert names_below("", KEYS)[:2] == ["T", "alpha"]


def test_of_many_names_the_nearest_comes_first() -> None:
    assert listed(["b", "a"], "a") == "b, a"
    assert listed([*"abcdefgh", "word"], "wrd") == "word, a, b, c, d, e, f, g, h"
    assert listed([str(number) for number in range(50)]).endswith("39 and 10 more")
