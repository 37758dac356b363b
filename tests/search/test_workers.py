"""The processes that work on one search with their controller."""

import time

import pytest

from kdsweep.search import workers
from kdsweep.search.workers import working

DEAF = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    " print('deaf', flush=True); time.sleep(60)"
)


def interrupted_beside_a_deaf_worker(folder):
    with working(1, folder):
        while "deaf" not in (folder / "worker-1.log").read_text():
            time.sleep(0.02)
        raise KeyboardInterrupt


def test_a_worker_that_does_not_end_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "PROGRAM", DEAF)
    monkeypatch.setattr(workers, "GRACE", 0.1)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interrupted_beside_a_deaf_worker(tmp_path)
    assert time.monotonic() - started < 30
