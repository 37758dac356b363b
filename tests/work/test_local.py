"""Worker processes of this machine: used again, replaced, ended."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from kdsweep.errors import RunFailed
from kdsweep.work import local, worker_process
from kdsweep.work.executor import Exit
from kdsweep.work.local import LocalExecutor
from kdsweep.work.own_package import own_environment
from kdsweep.work.places import Place
from kdsweep.work.worker_process import early_processes

# Answers as a worker does, without training: unit 13 kills it, unit 14 is parked, 15 takes long.
PROGRAM = """
import json, os, signal, sys, time
print(json.dumps({"number": None, "state": "ready", "reason": None}), flush=True)
about = os.getpid(), sorted(os.sched_getaffinity(0)), os.environ.get("OWN")
print(*about, file=sys.stderr, flush=True)
for line in sys.stdin:
    number = int(line)
    if number == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    state = "parked" if number == 14 else "done"
    if number == 15:
        time.sleep(600)
    print(json.dumps({"number": number, "state": state, "reason": None}), flush=True)
    if state == "parked":
        break
"""


@pytest.fixture(autouse=True)
def _program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process, "COMMAND", (sys.executable, "-c", PROGRAM))


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[LocalExecutor]:
    opened = LocalExecutor(tmp_path, [Place(), Place()])
    yield opened
    opened.close()


def poll(executor: LocalExecutor, count: int) -> list[Exit]:
    """The next ends of units, so many of them."""
    exits: list[Exit] = []
    end = time.monotonic() + 20
    while len(exits) < count:
        assert time.monotonic() < end, exits
        exits += executor.poll(0.1)
    return exits


def pids(folder: Path) -> list[int]:
    """All processes that have been started."""
    logs = (path.read_text() for path in sorted(folder.glob("work/worker-*.log")))
    return [int(line.split()[0]) for text in logs for line in text.splitlines()]


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_workers_are_used_again(executor: LocalExecutor, tmp_path: Path) -> None:
    for numbers in ((0, 1), (2, 3), (4,)):
        assert executor.free() == 2
        executor.submit(numbers)
        assert {one.number for one in poll(executor, len(numbers))} == set(numbers)
    assert len(pids(tmp_path)) == 2


def test_a_worker_that_is_killed_is_replaced(executor: LocalExecutor, tmp_path: Path) -> None:
    executor.submit([0])
    assert poll(executor, 1) == [Exit(0)]
    executor.submit([13, 1])
    assert set(poll(executor, 2)) == {Exit(13, "killed by signal 9"), Exit(1)}
    assert executor.free() == 2
    executor.submit([2, 3])
    assert {one.number for one in poll(executor, 2)} == {2, 3}
    assert len(pids(tmp_path)) == 3


def test_one_that_has_parked_its_unit_gets_no_other(
    executor: LocalExecutor, tmp_path: Path
) -> None:
    executor.submit([14, 0])
    assert {one.number for one in poll(executor, 2)} == {14, 0}
    executor.submit([1, 2])
    assert set(poll(executor, 2)) == {Exit(1), Exit(2)}
    assert len(pids(tmp_path)) == 3


def test_none_is_left_at_the_end(executor: LocalExecutor, tmp_path: Path) -> None:
    executor.submit([0, 1])
    poll(executor, 2)
    executor.close()
    assert not any(map(is_running, pids(tmp_path)))
    executor.close()


@pytest.mark.ci
def test_one_that_does_not_end_is_killed(
    executor: LocalExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "PATIENCE", 0.2)
    executor.submit([15])
    while len(pids(tmp_path)) < 2:
        time.sleep(0.01)
    executor.close()
    assert not any(map(is_running, pids(tmp_path)))


def test_workers_that_have_trained_nothing_leave_nothing(tmp_path: Path) -> None:
    """They are killed: else each would import everything before it ends."""
    executor = LocalExecutor(tmp_path, [Place(), Place()])
    while len(started := pids(tmp_path)) < 2:
        time.sleep(0.01)
    executor.close(leave=True)
    executor.close()
    assert not any(map(is_running, started))
    assert not list(tmp_path.iterdir())


def test_where_one_of_several_cannot_be_started_none_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    popen, started = subprocess.Popen, []

    def start(*arguments: Any, **options: Any) -> Any:
        if started:
            raise OSError("no process is left")
        started.append(popen(*arguments, **options))
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", start)
    with pytest.raises(OSError, match="no process is left"):
        LocalExecutor(tmp_path, [Place(), Place()])
    assert started[0].returncode is not None


def test_logs_of_earlier_workers_are_kept(tmp_path: Path) -> None:
    first = LocalExecutor(tmp_path, [Place()])
    first.submit([0])
    poll(first, 1)
    first.close()
    (pid,) = pids(tmp_path)
    LocalExecutor(tmp_path, [Place(), Place()]).close()
    assert pids(tmp_path)[0] == pid
    assert [path.name for path in tmp_path.glob("work/*")] == ["worker-1.log"]


def test_where_none_can_be_started_the_reason_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = "import sys; sys.exit('ModuleNotFoundError: no torch')"
    monkeypatch.setattr(worker_process, "COMMAND", (sys.executable, "-c", failing))
    executor = LocalExecutor(tmp_path, [Place()])
    executor.submit([0])
    with pytest.raises(RunFailed, match=r"no worker can be started: ModuleNotFoundError: no torch"):
        poll(executor, 1)
    executor.close()


def started(places: Sequence[Place], folder: Path) -> list[list[str]]:
    """What the workers of these places have noted about themselves."""
    executor = LocalExecutor(folder, places)
    numbers = range(len(places))
    executor.submit(list(numbers))
    poll(executor, len(places))
    executor.close()
    return [path.read_text().split(maxsplit=1) for path in sorted(folder.glob("work/*.log"))]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs CPU affinity")
def test_each_has_its_cores_and_its_environment(tmp_path: Path) -> None:
    first, *_, last = sorted(os.sched_getaffinity(0))
    places = [Place(frozenset({first})), Place(frozenset({last}), {"OWN": "gpu 1"})]
    # A worker is pinned right after it has been started; the program reads its affinity after that.
    (_, one), (_, other) = started(places, tmp_path)
    assert one.startswith(f"[{first}]")
    assert one.strip().endswith("None")
    assert other.strip() == f"[{last}] gpu 1"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs CPU affinity")
def test_processes_that_are_there_already_are_used(tmp_path: Path) -> None:
    places = [Place(frozenset({min(os.sched_getaffinity(0))})), Place(environment={"OWN": "gpu 1"})]
    with early_processes(tmp_path, 3) as early:
        known = [process.popen.pid for process in early.values()]
        executor = LocalExecutor(tmp_path, places, early)
        assert os.sched_getaffinity(known[0]) == places[0].cpus
        executor.submit([0, 1])
        assert len(poll(executor, 2)) == 2
        executor.close()
        assert not is_running(known[1]), "it lacks the environment of its place"
    assert known[0] in pids(tmp_path)
    assert not any(map(is_running, known))
    assert [path.name for path in sorted(tmp_path.glob("work/*"))] == [
        "worker-1.log",
        "worker-2.log",
    ]


def test_passwords_stay_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDSWEEP_ADDRESSES", '{"a": "secret"}')
    assert "secret" not in str(own_environment())
