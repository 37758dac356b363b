"""benchmarks/search_overhead.py: both searches have trials of an empty job."""

from typing import Any

import pytest


@pytest.mark.slow
def test_a_trial_of_an_empty_job_has_a_cost(load: Any) -> None:
    script = load("search_overhead")
    for program, words in ((script.OURS, script.OF_OURS), (script.STOCK, script.OF_STOCK)):
        seconds, growth = script.cost(program, words, 16)
        assert seconds > 0
        assert growth > 0
