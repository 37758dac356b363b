"""Which values have a type that an argument does not take."""

from collections.abc import Sequence
from typing import Any, Literal

import pytest
from torch import Tensor

from kdsweep.builders.option_types import described, fits


@pytest.mark.parametrize(
    ("hint", "good", "bad", "words"),
    [
        (float, [1, 0.5], ["1", None, True], "a number"),
        (int, [1], [1.5, True, "1"], "an integer"),
        (bool, [True], [1, "true"], "true or false"),
        (str, ["a"], [1, None], "a string"),
        (float | None, [1, None], ["a"], "a number or null"),
        (float | Tensor, [0.5], ["a"], "a number"),
        (Literal["both", "translator"], ["both"], ["none"], "one of both, translator"),
        (tuple[float, float], [[0.9, 0.99]], [[0.9], 3, ["a", 1]], "a list of 2, each a number"),
        (Sequence[int], [[1, 2], []], [3, "12", [1.5]], "a list, each an integer"),
        (list[Any], [[None]], [None], "a list"),
    ],
)
def test_values_of_a_type(hint: Any, good: list[Any], bad: list[Any], words: str) -> None:
    assert all(fits(value, hint) for value in good)
    assert not any(fits(value, hint) for value in bad)
    assert described(hint) == words


@pytest.mark.parametrize("hint", [Any, Tensor, dict[str, int], "Unknown"])
def test_nothing_is_refused_for_a_type_that_no_config_can_hold(hint: Any) -> None:
    assert fits("anything", hint)
