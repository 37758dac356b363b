"""Worker processes that are started before it is known what there is to train."""

import sys
from pathlib import Path
from typing import Any

import pytest

from kdsweep.work import worker_process
from kdsweep.work.worker_process import discard, early_count, early_processes

# Notes its number, and waits for more.
PROGRAM = "import os, sys; print(os.getpid(), file=sys.stderr, flush=True); sys.stdin.read()"


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Eight threads on four cores, without a GPU."""
    monkeypatch.setattr(worker_process, "COMMAND", (sys.executable, "-c", PROGRAM))
    monkeypatch.setattr(worker_process, "usable_cores", lambda physical: 4 if physical else 8)
    monkeypatch.setattr(worker_process, "NVIDIA", tmp_path / "nvidiactl")


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_those_that_are_not_taken_out_leave_nothing(tmp_path: Path) -> None:
    with early_processes(tmp_path, 3) as early:
        pids = [process.popen.pid for process in early.values()]
        discard(early, first=2)
        assert list(early) == [0, 1]
        assert [is_running(pid) for pid in pids] == [True, True, False]
        with early.pop(0).popen as taken:
            assert taken.stdin is not None
            taken.stdin.close()
            assert taken.wait(20) == 0
    assert not any(map(is_running, pids))
    assert [path.name for path in tmp_path.glob("work/*")] == ["worker-1.log"]


def test_an_error_ends_all_of_them(tmp_path: Path) -> None:
    def fail() -> None:
        with early_processes(tmp_path, 2) as early:
            pids.extend(process.popen.pid for process in early.values())
            raise RuntimeError

    pids: list[int] = []
    with pytest.raises(RuntimeError):
        fail()
    assert len(pids) == 2
    assert not any(map(is_running, pids))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("workers", "jobs", "settings", "count"),
    [
        (2, 9, {}, 2),
        ("2", 9, {}, 2),
        (4, 3, {}, 3),  # one for each job
        (2, 1, {}, 0),
        (1, 9, {}, 0),
        (0, 9, {}, 0),  # refused later
        ("many", 9, {}, 0),
        (9, 99, {}, 0),  # more than there are cores for
        (4, 9, {"threads": 4}, 0),
        ("auto", 9, {"threads": 1}, 4),
        ("auto", 9, {"threads": 2}, 2),
        ("auto", 9, {"threads": "auto"}, 0),  # one worker that has all cores
    ],
)
def test_there_are_as_many_as_workers_that_are_sure_to_be_used(
    workers: object, jobs: int, settings: dict[str, Any], count: int
) -> None:
    given = {"device": "auto", "threads": "auto", **settings}
    assert early_count(workers, jobs, **given) == count


def test_there_is_none_where_workers_may_compute_on_gpus(tmp_path: Path) -> None:
    (tmp_path / "nvidiactl").touch()
    assert early_count(2, 9, device="auto", threads="auto") == 0
    assert early_count(2, 9, device="cpu", threads="auto") == 2
