"""Which process works on which trial, and which one may end the search."""

import multiprocessing
import os
import shutil
import socket
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState
from studies import Start

from kdsweep.common.processes import STALE_SECONDS, new_lease
from kdsweep.search import lease as module
from kdsweep.search.lease import (
    LEASE_ATTR,
    claim,
    end_lock,
    end_of_search,
    enqueue,
    heartbeat,
    held_by_others,
    release_trials,
)
from kdsweep.search.optuna_internals import SearchStudy

N, BLOCK = 8, 3


def states(study: SearchStudy) -> list[TrialState]:
    return [trial.state for trial in study.trials]


def abandon(study: SearchStudy, numbers: Sequence[int], **changes: Any) -> None:
    """Give trials a lease that differs from one of this process."""
    if (seconds := changes.pop("silent_for", None)) is not None:
        changes["beat"] = time.time() - seconds
    for number in numbers:
        study.set_attr(number, LEASE_ATTR, new_lease() | changes)


@pytest.fixture(scope="module")
def begun_storage(tmp_path_factory: pytest.TempPathFactory, start_in: Start) -> Path:
    """A database with N trials, the first block of which is claimed."""
    folder = tmp_path_factory.mktemp("begun")
    study = start_in(folder)
    enqueue(study, N, folder)
    claim(study, N, BLOCK, folder)
    return folder / "optuna.db"


@pytest.fixture
def begun(start: Start, tmp_path: Path, begun_storage: Path) -> SearchStudy:
    """The study of a search whose first block is claimed."""
    shutil.copy(begun_storage, tmp_path / "optuna.db")
    return start()


@pytest.fixture
def started_yesterday(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that was started before all heartbeats here; this one may be minutes old."""
    read_text, stat = Path.read_text, Path("/proc/stat")

    def read(self: Path, *arguments: Any, **options: Any) -> str:
        if self == stat:
            return f"btime {time.time() - 86400:.0f}\n"
        return read_text(self, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", read)


# A pid above the largest that Linux assigns.
DEAD = {"pid": 2**22 + 1}


def test_the_number_of_trials_is_a_total(start: Start, tmp_path: Path) -> None:
    for wanted, there in [(5, 5), (5, 5), (3, 5), (N, N)]:
        study = start()
        enqueue(study, wanted, tmp_path)
        assert len(study.trials) == there
    assert set(states(study)) == {TrialState.WAITING}


def test_trials_that_ended_badly_count(start: Start, tmp_path: Path) -> None:
    study = start()
    enqueue(study, 2, tmp_path)
    assert claim(study, 2, 2, tmp_path) == [0, 1]
    study.tell(0, state=TrialState.FAIL)
    study.tell(1, state=TrialState.PRUNED)
    enqueue(study, 3, tmp_path)
    assert claim(study, 3, 2, tmp_path) == [2]
    study.tell(2, 0.5)
    enqueue(study, 3, tmp_path)
    assert claim(study, 3, 2, tmp_path) == []


def test_blocks_come_by_number_and_end(start: Start, tmp_path: Path) -> None:
    study = start()
    enqueue(study, N, tmp_path)
    claimed = [claim(study, N, BLOCK, tmp_path) for _ in range(4)]
    assert claimed == [[0, 1, 2], [3, 4, 5], [6, 7], []]
    assert set(states(study)) == {TrialState.RUNNING}


def test_trials_beyond_the_total_are_left_alone(start: Start, tmp_path: Path) -> None:
    study = start()
    enqueue(study, N, tmp_path)
    assert claim(study, 2, BLOCK, tmp_path) == [0, 1]
    assert claim(study, 2, BLOCK, tmp_path) == []


def test_a_claimed_trial_has_a_lease_of_this_process(start: Start, tmp_path: Path) -> None:
    study = start()
    enqueue(study, 1, tmp_path)
    claim(study, 1, 1, tmp_path)
    lease = study.trials[0].user_attrs[LEASE_ATTR]
    assert (lease["host"], lease["pid"]) == (socket.gethostname(), os.getpid())
    assert abs(lease["beat"] - time.time()) < 60


def test_an_interrupted_block_is_given_again_as_the_same_block(
    start: Start, begun: SearchStudy, tmp_path: Path
) -> None:
    abandon(begun, [0, 1, 2], **DEAD)
    again = start()
    assert claim(again, N, BLOCK, tmp_path) == [0, 1, 2]
    assert again.trials[0].user_attrs[LEASE_ATTR]["pid"] == os.getpid()


def test_what_is_done_of_a_block_is_not_given_again(
    start: Start, begun: SearchStudy, tmp_path: Path
) -> None:
    begun.tell(1, 0.5)
    abandon(begun, [0, 2], **DEAD)
    assert claim(start(), N, BLOCK, tmp_path) == [0, 2]


def test_a_claim_that_died_half_way_is_completed(start: Start, tmp_path: Path) -> None:
    study = start()
    enqueue(study, N, tmp_path)
    study.take(0)
    study.set_attr(0, LEASE_ATTR, new_lease() | DEAD)
    study.take(1)  # and no lease yet
    assert claim(start(), N, BLOCK, tmp_path) == [0, 1, 2]


BORN_LATER = {"born": "1"}  # the number of a dead process that another one has now
ELSEWHERE = {"host": "another.example"}
CONTAINER = {"pids": "pid:[1]"}  # with the same name and kernel, and pids of its own
TWIN = {"boot": "00000000-0000-0000-0000-000000000000"}  # a machine with the same name
RESTARTED = TWIN | {"beat": 0.0}  # this machine, before it last started
SILENT = {"silent_for": STALE_SECONDS + 60}
BEATING = {"silent_for": STALE_SECONDS - 600}


@pytest.mark.parametrize(
    "left_by",
    [
        DEAD,
        BORN_LATER,
        {"pid": 1, **BORN_LATER},
        ELSEWHERE | SILENT,
        ELSEWHERE | DEAD | SILENT,
        DEAD | BEATING,
        CONTAINER | SILENT,
        TWIN | SILENT,
        RESTARTED,
    ],
)
@pytest.mark.usefixtures("started_yesterday")
def test_the_trials_of_a_dead_process_are_claimed(
    begun: SearchStudy, tmp_path: Path, left_by: dict[str, Any]
) -> None:
    abandon(begun, [0, 1, 2], **left_by)
    assert claim(begun, N, BLOCK, tmp_path) == [0, 1, 2]


@pytest.mark.parametrize(
    "held_by",
    [
        *[{}, SILENT, ELSEWHERE | BEATING, ELSEWHERE | DEAD | BEATING],
        *[CONTAINER | DEAD | BEATING, TWIN | DEAD | BEATING],
    ],
)
@pytest.mark.usefixtures("started_yesterday")
def test_the_trials_of_a_live_process_are_not(
    begun: SearchStudy, tmp_path: Path, held_by: dict[str, Any]
) -> None:
    abandon(begun, [0, 1, 2], **held_by)
    assert claim(begun, N, BLOCK, tmp_path) == [3, 4, 5]


def test_a_lease_of_an_earlier_version_is_compared_by_its_host(
    start: Start, tmp_path: Path
) -> None:
    study = start()
    enqueue(study, 2, tmp_path)
    claim(study, 2, 2, tmp_path)
    for number, changes in enumerate([{}, DEAD]):
        lease = {k: v for k, v in new_lease().items() if k not in ("boot", "pids")}
        study.set_attr(number, LEASE_ATTR, lease | changes)
    assert claim(start(), 2, 2, tmp_path) == [1]


def replace_proc(monkeypatch: pytest.MonkeyPatch, files: Mapping[str, str]) -> None:
    """A machine whose /proc has these files alone."""
    read_text = Path.read_text

    def read(self: Path, *arguments: Any, **options: Any) -> str:
        if not self.is_relative_to("/proc"):
            return read_text(self, *arguments, **options)
        if str(self) not in files:
            raise FileNotFoundError(self)
        return files[str(self)]

    def read_link(path: str) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", read)
    monkeypatch.setattr(os, "readlink", read_link)


def test_without_proc_a_host_is_its_name(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_proc(monkeypatch, {})
    study = start()
    enqueue(study, 3, tmp_path)
    claim(study, 3, 3, tmp_path)
    for number, changes in enumerate([{}, DEAD, ELSEWHERE | DEAD]):
        study.set_attr(number, LEASE_ATTR, new_lease() | changes)
    assert claim(start(), 3, 3, tmp_path) == [1]


@pytest.mark.ci
def test_after_a_restart_two_minutes_of_silence_are_enough(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = time.time() - 60
    replace_proc(monkeypatch, {"/proc/stat": f"cpu 1\nbtime {started:.0f}\nctxt 2"})
    study = start()
    enqueue(study, 3, tmp_path)
    claim(study, 3, 3, tmp_path)
    silences = (30, 90, 150)  # since the start; before it, but short; before it
    for number, silence in enumerate(silences):
        study.set_attr(number, LEASE_ATTR, new_lease() | TWIN | {"beat": time.time() - silence})
    assert claim(start(), 3, 3, tmp_path) == [2]


def claim_and_stay(start: Start, folder: Path, sender: Connection) -> None:
    sender.send(claim(start(), N, BLOCK, folder))
    time.sleep(60)


@pytest.mark.ci
def test_a_process_holds_its_block_until_it_is_killed(start: Start, tmp_path: Path) -> None:
    study = start()
    enqueue(study, N, tmp_path)
    receiver, sender = multiprocessing.Pipe()
    other = multiprocessing.get_context("fork").Process(
        target=claim_and_stay, args=(start, tmp_path, sender)
    )
    other.start()
    try:
        assert receiver.poll(30)
        assert receiver.recv() == [0, 1, 2]
        assert claim(study, N, BLOCK, tmp_path) == [3, 4, 5]
    finally:
        other.kill()
        other.join()
    assert claim(study, N, BLOCK, tmp_path) == [0, 1, 2]


@pytest.mark.ci
def test_two_claims_never_share_a_trial(start: Start, tmp_path: Path) -> None:
    enqueue(start(), N, tmp_path)
    with ThreadPoolExecutor(4) as pool:
        blocks = list(pool.map(lambda _: claim(start(), N, 2, tmp_path), range(6)))
    assert sorted(number for block in blocks for number in block) == list(range(N))
    assert sorted(map(len, blocks)) == [0, 0, 2, 2, 2, 2]


def test_released_trials_are_claimed_next(start: Start, begun: SearchStudy, tmp_path: Path) -> None:
    assert claim(begun, N, BLOCK, tmp_path) == [3, 4, 5]
    begun.tell(0, 0.5)
    release_trials(begun, [0, 1, 2])
    assert states(begun)[:BLOCK] == [TrialState.COMPLETE, TrialState.RUNNING, TrialState.RUNNING]
    again = start()
    assert claim(again, N, BLOCK, tmp_path) == [1, 2]
    assert claim(again, N, BLOCK, tmp_path) == [6, 7]


def other_process() -> dict[str, Any]:
    """A lease of another process that lives as long as this one: its parent."""
    lease = {key: value for key, value in new_lease().items() if key != "born"}
    return lease | {"pid": os.getppid()}


def test_trials_of_other_live_processes_are_held_by_others(start: Start, tmp_path: Path) -> None:
    study = start()
    enqueue(study, 4, tmp_path)
    assert claim(study, 4, 2, tmp_path) == [0, 1]
    assert held_by_others(study) == set()
    study.set_attr(1, LEASE_ATTR, other_process())
    assert held_by_others(study) == {1}
    study.set_attr(1, LEASE_ATTR, {**other_process(), "born": "another"})
    assert held_by_others(study) == set(), "the process of this lease has died"
    release_trials(study, [0, 1])
    assert held_by_others(study) == set()


def test_a_stopped_controller_does_not_wait_for_the_one_that_trains_the_finalists(
    start: Start, tmp_path: Path
) -> None:
    study = start()
    with end_of_search(tmp_path, study, KeyboardInterrupt()) as others:
        assert not others
        with end_of_search(tmp_path, study, KeyboardInterrupt()) as others:
            assert others
    with end_lock(tmp_path), end_of_search(tmp_path, study, KeyboardInterrupt()) as others:
        assert others
    with end_of_search(tmp_path, study, None) as others:
        assert not others


def test_a_heartbeat_renews_the_leases(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.01)
    study = start()
    enqueue(study, 2, tmp_path)
    claim(study, 2, 2, tmp_path)
    abandon(study, [0, 1], beat=0.0)
    with heartbeat(study, [1]):
        for _ in range(1000):
            if study.trials[1].user_attrs[LEASE_ATTR]["beat"] > 0.0:
                break
            time.sleep(0.01)
    beats = [trial.user_attrs[LEASE_ATTR]["beat"] for trial in study.trials]
    assert beats[0] == 0.0 < beats[1]
