"""result.json is read and written without a change, whichever version has written it."""

import pytest

from kdsweep.tracking.result import RESULT_KEYS, RunResult


def test_the_keys_of_a_result_keep_their_order_and_values() -> None:
    content = {key: number for number, key in enumerate(RESULT_KEYS)} | {"status": "FINISHED"}
    assert list(RunResult.from_json(content).to_json().items()) == list(content.items())


def test_what_an_older_version_lacks_is_none_and_what_a_newer_one_adds_stays() -> None:
    result = RunResult.from_json({"new": [1], "val/acc": 0.5, "status": "KILLED"})
    assert (result.status, result.val_acc, result.test_acc) == ("KILLED", 0.5, None)
    content = result.to_json()
    assert tuple(content) == (*RESULT_KEYS, "new")
    assert content["new"] == [1]
    with pytest.raises(KeyError):
        RunResult.from_json({"val/acc": 0.5})
