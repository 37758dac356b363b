import gc
import subprocess
import sys

import pytest

from kdsweep.common.garbage import kept_for_good, without_collection


def test_nothing_is_collected_inside_and_what_was_made_is_not_looked_at_later() -> None:
    before = gc.get_freeze_count()
    try:
        with kept_for_good():
            assert not gc.isenabled()
            made = [[] for _ in range(1000)]
        assert gc.isenabled()
        assert gc.get_freeze_count() >= before + len(made)
    finally:
        gc.unfreeze()


def test_the_collector_is_enabled_again_after_an_error_and_stays_off_where_it_was() -> None:
    try:
        with pytest.raises(ImportError), kept_for_good():
            raise ImportError
        assert gc.isenabled()
        gc.disable()
        with kept_for_good():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()


def test_the_collector_can_be_off_for_a_while() -> None:
    with without_collection():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_nothing_is_collected_when_a_process_ends() -> None:
    code = """
import gc, sys
from kdsweep.common.garbage import leave_rest_to_system
gc.callbacks.append(lambda phase, about: print(about["collected"], flush=True))
CALL
one = []
one.append(one)
del one
"""
    for call, lines in (("", True), ("leave_rest_to_system()", False)):
        words = [sys.executable, "-c", code.replace("CALL", call)]
        ended = subprocess.run(words, capture_output=True, text=True, check=True)
        found = [int(line) for line in ended.stdout.split()]
        assert any(found) == lines
