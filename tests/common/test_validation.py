import math

import pytest

from kdsweep.common.validation import (
    as_typed,
    check_bool,
    check_count,
    check_fraction,
    check_not_negative,
    check_option,
    check_positive,
    check_positive_integer,
    check_share,
    check_temperature,
    check_whole,
    per_channel,
    shown,
)

NO_NUMBERS = [None, "4", True, [1]]
NOT_FINITE = [math.inf, -math.inf, math.nan]


@pytest.mark.parametrize(
    ("check", "allowed", "good", "bad"),
    [
        (check_positive, "a finite number > 0", [1e-9, 1, 2.5], [0, -1, *NOT_FINITE]),
        (check_not_negative, "a finite number >= 0", [0, 0.0, 3], [-1e-9, *NOT_FINITE]),
        (
            check_temperature,
            "a number from 1e-6 to 1e6",
            [1e-6, 1, 4.0, 1e6],
            [0, 0.99e-6, 1.01e6, *NOT_FINITE],
        ),
        (check_fraction, "a number in [0, 1]", [0, 0.5, 1], [-0.1, 1.1, *NOT_FINITE]),
        (check_share, "in [0, 1)", [0, 0.5], [-0.1, 1, *NOT_FINITE]),
        (check_positive_integer, "an integer >= 1", [1, 7], [0, -1, 1.0, *NOT_FINITE]),
    ],
)
def test_numbers_outside_the_range_are_refused(check, allowed, good, bad):
    for value in good:
        check("key", value)
    for value in [*bad, *NO_NUMBERS]:
        with pytest.raises(ValueError, match=r"^key must be ") as error:
            check("key", value)
        written = {repr(value), as_typed(value)}
        assert str(error.value) in {f"key must be {allowed}, got {text}" for text in written}


@pytest.mark.parametrize(
    ("value", "got"), [("hart", "hart; did you mean hard?"), ("x", "x"), (None, "null"), ([], "[]")]
)
def test_one_of_some_words_is_given(value, got):
    check_option("key", "soft", ("hard", "soft"))
    with pytest.raises(ValueError, match=r"^key must be one of") as error:
        check_option("key", value, ("hard", "soft"))
    assert str(error.value) == f"key must be one of hard, soft, got {got}"


@pytest.mark.parametrize("value", [1, 1.0])
def test_a_fraction_may_exclude_1(value):
    check_fraction("key", 0, one=False)
    with pytest.raises(ValueError, match=r"^key must be a number in \[0, 1\), got 1$"):
        check_fraction("key", value, one=False)


@pytest.mark.parametrize(
    ("ends", "good", "bad", "interval"),
    [
        ({"zero": False}, [0.1], [0, 1], "(0, 1)"),
        ({"zero": False, "one": True}, [0.1, 1], [0], "(0, 1]"),
        ({"one": True, "why": " of it"}, [0, 1], [1.5], "[0, 1] of it"),
    ],
)
def test_a_share_may_exclude_either_end(ends, good, bad, interval):
    for value in good:
        check_share("key", value, **ends)
    for value in bad:
        with pytest.raises(ValueError, match=r"^key must be in ") as error:
            check_share("key", value, **ends)
        assert str(error.value) == f"key must be in {interval}, got {value}"


def test_true_and_false_are_the_only_bools():
    check_bool("key", False)
    for value in (0, 1, None, "true"):
        with pytest.raises(ValueError, match=f"^key must be true or false, got {as_typed(value)}$"):
            check_bool("key", value)


def test_whole_numbers():
    check_whole("key", 2, least=2)
    check_count("key", None)
    check_count("key", 1)
    for value, got in ((1, "1"), (2.0, "2.0"), (True, "true"), ("2", "the text '2'")):
        with pytest.raises(ValueError, match=f"^key must be a whole number >= 2, got {got}$"):
            check_whole("key", value, least=2)
    for value, got in ((0, "0"), (1.5, "1.5"), (1.0, "1.0"), (False, "false")):
        with pytest.raises(ValueError, match=f"null, got {got}$"):
            check_count("key", value)


def test_one_finite_number_per_channel():
    assert per_channel("key", [1, 0.5], 2) == (1.0, 0.5)
    for values, channels, numbers in [
        (None, 1, "1 finite number"),
        ([1, math.nan], 2, "2 finite numbers"),
        ([1, True], 2, "2 finite numbers"),
        ("12", 2, "2 finite numbers"),
        ([1], 3, "3 finite numbers"),
    ]:
        with pytest.raises(ValueError, match=r"^key must be ") as error:
            per_channel("key", values, channels)
        allowed = f"null or a list of {numbers}, one per channel"
        assert str(error.value) == f"key must be {allowed}, got {as_typed(values)}"


def test_values_are_shown_as_yaml_has_them():
    assert [shown(value) for value in (None, (1, 2), "a", 0.5)] == ["null", "[1, 2]", "a", "0.5"]
    assert shown({"a": [None, True], "b": {"c": False}}) == "{a: [null, true], b: {c: false}}"


def test_values_are_printed_as_they_are_typed_and_texts_that_read_as_numbers_are_marked():
    values = (4.0, 1e-3, 1.0000001, "fast", None, True, [1, None], [["a", "1", "b c"]])
    assert [as_typed(value) for value in values] == [
        "4",
        "0.001",
        "1.0000001",
        "fast",
        "null",
        "true",
        "[1, null]",
        "[[a, '1', 'b c']]",
    ]
    for text in ("1e-3", "nan", "true", "null", ""):
        assert as_typed(text) == f"the text {text!r}"
