import gc
import subprocess
import sys
import weakref

import pytest

from kdsweep.common.garbage import kept_for_good, without_collection


class Cycle:
    """An object that only the collector can free."""

    def __init__(self) -> None:
        self.own = self


@pytest.mark.ci
def test_nothing_is_collected_inside_and_what_was_imported_is_not_looked_at_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = gc.get_freeze_count()
    try:
        with kept_for_good():
            assert not gc.isenabled()
            made = [[] for _ in range(1000)]
            monkeypatch.setitem(sys.modules, "imported_here", sys)
        assert gc.isenabled()
        assert gc.get_freeze_count() >= before + len(made)
    finally:
        gc.unfreeze()


@pytest.mark.slow
def test_where_nothing_is_imported_garbage_can_be_collected() -> None:
    """The second sweep of a process would else keep the networks of the first for good."""
    garbage = weakref.ref(Cycle())
    with kept_for_good():
        import json  # noqa: F401
    gc.collect()
    assert garbage() is None


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
