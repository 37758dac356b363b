"""What the words of a command sweep, and which of them have an effect."""

from kdsweep.config.overrides import keys_without_effect, swept_keys

JOBS = [["loss=ce", "T=1"], ["loss=ce", "T=4"], ["loss=kl", "T=1"], ["loss=kl", "T=4"]]


def test_swept_keys_are_those_that_vary() -> None:
    assert swept_keys([["a=1", "b=2", "c=3"], ["a=1", "b=3", "c=4"]]) == ["b", "c"]
    assert swept_keys([["a=1"]]) == []


def test_a_key_that_alters_some_run_has_an_effect() -> None:
    assert keys_without_effect(JOBS, ["ce", "ce", "kl1", "kl4"]) == []


def test_a_key_that_alters_no_run_has_none() -> None:
    assert keys_without_effect(JOBS, ["ce", "ce", "kl", "kl"]) == ["T"]
    assert keys_without_effect([["T=1"], ["T=4"]], ["same", "same"]) == ["T"]
