"""What a key takes, in words."""

from typing import Any

import pytest
from commands import Compose

from kdsweep.config.expected import expected, in_words


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("T", "a number"),
        ("trainer.epochs", "an integer"),
        ("teacher.trainer.test_curve", "true or false"),
        ("student.checkpoint", "null or a string"),
        ("dataset.mean", "null or a list of numbers"),
        ("student.features.maps", "null or a list of strings"),
        ("loss", "a mapping"),
        ("hard", "a mapping with keys of label_smoothing"),
        ("student.model.width", None),
        ("nope.nope", None),
    ],
)
def test_a_key(compose: Compose, key: str, words: str | None) -> None:
    assert expected(compose(), key) == words


@pytest.mark.parametrize(("hint", "words"), [(Any, None), (list, "a list"), (Any | None, None)])
def test_a_type(hint: Any, words: str | None) -> None:
    assert in_words(hint) == words
