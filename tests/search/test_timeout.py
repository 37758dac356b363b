"""How long a search may take, in the words of the command line."""

import math

import pytest

from kdsweep.errors import UserError
from kdsweep.search.timeout import parse_timeout


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("90", 90),
        ("30m", 1800),
        ("8h", 28800),
        ("2d", 172800),
        ("1.5h", 5400),
        ("0.5s", 0.5),
        (" 8 h ", 28800),
        (None, math.inf),
    ],
)
def test_words_that_are_durations(text: str | None, seconds: float) -> None:
    assert parse_timeout(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "h", "0", "0h", "-1h", "8 hours", "1h30m", "8H", "inf", "nan", "1e3", ".5h", "8h\n30m"],
)
def test_other_words_are_refused_with_key_and_value(text: str) -> None:
    with pytest.raises(UserError) as refused:
        parse_timeout(text)
    assert str(refused.value).startswith(
        "search.timeout must be null or a time > 0 like 90 (seconds), 90s, 30m, 8h or 2d, got "
    )
    assert str(refused.value).endswith(text)
