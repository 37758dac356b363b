"""Where nothing is compiled yet, one of several workers compiles what all of them import.

In a fresh clone compiling takes twice as long as all else that happens before the first test.
"""

import importlib.util
import os
import sys
import tempfile
from pathlib import Path

from filelock import FileLock

LOCK = Path(tempfile.gettempdir(), f"tests-{os.environ.get('PYTEST_XDIST_TESTRUNUID')}.lock")

_turn = FileLock(LOCK)


def wait_for_turn() -> None:
    """Wait until no other worker is compiling; returns at once where that is done already."""
    if "PYTEST_XDIST_WORKER" in os.environ and not sys.dont_write_bytecode and not _compiled():
        _turn.acquire()


def end_turn() -> None:
    _turn.release()


def remove_lock() -> None:
    """At the end of the tests, when no worker waits any more."""
    LOCK.unlink(missing_ok=True)


def _compiled() -> bool:
    """Whether it is, by one of the last that a worker imports before it collects tests."""
    spec = importlib.util.find_spec("mlflow")
    assert spec is not None
    assert spec.origin is not None
    return Path(importlib.util.cache_from_source(spec.origin)).exists()
