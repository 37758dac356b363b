"""The study in its storage: who starts it, how often, and who owns which trial."""

import multiprocessing
import os
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from studies import Start

from kdsweep.common import processes as module
from kdsweep.common.processes import STALE_SECONDS, owner
from kdsweep.errors import UserError
from kdsweep.search.optuna_internals import SearchStudy
from kdsweep.search.study import OWNER, claim, enqueue, open_study, park

N, BLOCK = 8, 3


def states(study: SearchStudy) -> list[TrialState]:
    return [trial.state for trial in study.trials]


def abandon(study: SearchStudy, numbers: Sequence[int], **changes: Any) -> None:
    """Leave trials as an owner does that differs from this process in some way."""
    if (seconds := changes.pop("silent_for", None)) is not None:
        changes["beat"] = time.time() - seconds
    for number in numbers:
        study.note(number, OWNER, owner() | changes)


# A pid above the largest that Linux gives away.
DEAD = {"pid": 2**22 + 1}


def test_each_start_opens_the_same_study(start: Start, tmp_path: Path) -> None:
    enqueue(start(), N, tmp_path)
    assert len(start().trials) == N
    assert optuna.get_all_study_names(f"sqlite:///{tmp_path}/optuna.db") == ["night"]


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"space": {"T": "1 to 8"}}, "space of the search night must stay {'T': '1 to 4'}, got"),
        ({"seeds": (0, 1)}, r"search.seeds of the search night must stay [0], got [0, 1];"),
        (
            {"directions": ("minimize",)},
            "directions of the search night must stay ['maximize'], got ['minimize'];",
        ),
        (
            {"directions": ("maximize", "minimize")},
            "directions of the search night must stay ['maximize'], got ['maximize', 'minimize'];",
        ),
    ],
)
def test_another_search_under_the_same_name_is_refused(
    start: Start, changed: dict[str, Any], sentence: str
) -> None:
    start()
    with pytest.raises(UserError) as refused:
        start(**changed)
    assert sentence in str(refused.value)
    assert str(refused.value).endswith("another search.name begins another search")
    start()  # the study has not taken the change over


OLD = {"a": 1, "b": "x", "c": None, "d": [1, 2], "e": 0.5}


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"a": 2}, "a of the search night must stay 1, got 2; another search.name"),
        ({"c": 3}, "c of the search night must stay None, got 3; another search.name"),
        ({"f": 3}, "f of the search night must stay None, got 3; another search.name"),
        (
            {"a": 2, "b": "y"},
            "a of the search night must stay 1, got 2; b must stay x, got y; another search.name",
        ),
        (
            {"a": 2, "b": "y", "c": 0, "d": [2], "e": 1},
            "a of the search night must stay 1, got 2; b must stay x, got y;"
            " c must stay None, got 0; and 2 more; another search.name",
        ),
    ],
)
def test_changed_settings_are_named_three_at_most(
    start: Start, changed: dict[str, Any], sentence: str
) -> None:
    start(settings=OLD)
    with pytest.raises(UserError) as refused:
        start(settings=OLD | changed)
    assert str(refused.value).startswith(sentence)
    start(settings=OLD)


@pytest.mark.parametrize("same", [{"a": 1.0}, {"f": None}, {"d": (1, 2)}])
def test_settings_that_mean_the_same_are_the_same(start: Start, same: dict[str, Any]) -> None:
    start(settings=OLD)
    start(settings=OLD | same)


def test_a_study_made_before_settings_were_noted_goes_on_and_notes_them(start: Start) -> None:
    start()
    start(settings=OLD)
    with pytest.raises(UserError, match="a of the search night must stay 1, got 2"):
        start(settings=OLD | {"a": 2})


def test_a_study_of_the_stock_sweeper_keeps_its_direction(start: Start, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/optuna.db"
    made = optuna.create_study(study_name="night", storage=storage, direction="minimize")
    with pytest.raises(UserError, match=r"directions .* must stay \['minimize'\]"):
        start()
    assert made.user_attrs == {}


@pytest.mark.parametrize("storage", ["None", "nonsense://x", "sqlite:////proc/none/optuna.db"])
def test_a_storage_that_cannot_work_is_named(storage: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        open_study(storage, "night", ["maximize"], {}, optuna.pruners.NopPruner(), tmp_path)
    message = str(refused.value)
    assert message.startswith(f"hydra.sweeper.storage must be a storage that works, got {storage}:")
    assert "\n" not in message


def test_what_is_no_fault_of_the_storage_is_not_blamed_on_it(start: Start) -> None:
    with pytest.raises(KeyError, match="UP"):
        start(directions=("up",))


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


def test_a_claimed_trial_says_whose_it_is(start: Start, tmp_path: Path) -> None:
    study = start()
    enqueue(study, 1, tmp_path)
    claim(study, 1, 1, tmp_path)
    known = study.trials[0].user_attrs[OWNER]
    assert (known["host"], known["pid"]) == (socket.gethostname(), os.getpid())
    assert abs(known["beat"] - time.time()) < 60


def test_an_interrupted_block_is_given_again_as_the_same_block(
    start: Start, tmp_path: Path
) -> None:
    study = start()
    enqueue(study, N, tmp_path)
    claim(study, N, BLOCK, tmp_path)
    abandon(study, [0, 1, 2], **DEAD)
    again = start()
    assert claim(again, N, BLOCK, tmp_path) == [0, 1, 2]
    assert again.trials[0].user_attrs[OWNER]["pid"] == os.getpid()


def test_what_is_done_of_a_block_is_not_given_again(start: Start, tmp_path: Path) -> None:
    study = start()
    enqueue(study, N, tmp_path)
    claim(study, N, BLOCK, tmp_path)
    study.tell(1, 0.5)
    abandon(study, [0, 2], **DEAD)
    assert claim(start(), N, BLOCK, tmp_path) == [0, 2]


def test_a_claim_that_died_half_way_is_made_whole(start: Start, tmp_path: Path) -> None:
    study = start()
    enqueue(study, N, tmp_path)
    study.take(0)
    study.note(0, OWNER, owner() | DEAD)
    study.take(1)  # and no owner yet
    assert claim(start(), N, BLOCK, tmp_path) == [0, 1, 2]


BORN_LATER = {"born": "1"}  # the number of a dead process that another one has now
ELSEWHERE = {"host": "another.example"}
CONTAINER = {"pids": "pid:[1]"}  # of our name and kernel, with pids of its own
TWIN = {"boot": "00000000-0000-0000-0000-000000000000"}  # a machine with our name
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
def test_the_trials_of_a_dead_owner_are_taken(
    start: Start, tmp_path: Path, left_by: dict[str, Any]
) -> None:
    study = start()
    enqueue(study, N, tmp_path)
    claim(study, N, BLOCK, tmp_path)
    abandon(study, [0, 1, 2], **left_by)
    assert claim(start(), N, BLOCK, tmp_path) == [0, 1, 2]


@pytest.mark.parametrize(
    "held_by",
    [
        *[{}, SILENT, ELSEWHERE | BEATING, ELSEWHERE | DEAD | BEATING],
        *[CONTAINER | DEAD | BEATING, TWIN | DEAD | BEATING],
    ],
)
def test_the_trials_of_a_living_owner_are_not(
    start: Start, tmp_path: Path, held_by: dict[str, Any]
) -> None:
    study = start()
    enqueue(study, N, tmp_path)
    claim(study, N, BLOCK, tmp_path)
    abandon(study, [0, 1, 2], **held_by)
    assert claim(start(), N, BLOCK, tmp_path) == [3, 4, 5]


def test_an_owner_noted_by_an_older_kdsweep_is_known_by_its_host(
    start: Start, tmp_path: Path
) -> None:
    study = start()
    enqueue(study, 2, tmp_path)
    claim(study, 2, 2, tmp_path)
    for number, changes in enumerate([{}, DEAD]):
        known = {k: v for k, v in owner().items() if k not in ("boot", "pids")}
        study.note(number, OWNER, known | changes)
    assert claim(start(), 2, 2, tmp_path) == [1]


def test_without_proc_a_host_is_its_name(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tell in ("_text", "_born", "_pids"):
        monkeypatch.setattr(module, tell, lambda *_: None)
    study = start()
    enqueue(study, 3, tmp_path)
    claim(study, 3, 3, tmp_path)
    for number, changes in enumerate([{}, DEAD, ELSEWHERE | DEAD]):
        study.note(number, OWNER, owner() | changes)
    assert claim(start(), 3, 3, tmp_path) == [1]


def test_after_a_restart_two_minutes_of_silence_are_enough(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = time.time() - 60
    monkeypatch.setattr(module, "_text", lambda path: f"cpu 1\nbtime {started:.0f}\nctxt 2")
    study = start()
    enqueue(study, 3, tmp_path)
    claim(study, 3, 3, tmp_path)
    silences = (30, 90, 150)  # since the start; before it, but short; before it
    for number, silence in enumerate(silences):
        study.note(number, OWNER, owner() | TWIN | {"beat": time.time() - silence})
    assert claim(start(), 3, 3, tmp_path) == [2]


def claim_and_stay(storage: str, folder: Path, said: Connection) -> None:
    said.send(claim(SearchStudy("night", storage), N, BLOCK, folder))
    time.sleep(60)


def test_a_process_holds_its_block_until_it_is_killed(start: Start, tmp_path: Path) -> None:
    study = start()
    enqueue(study, N, tmp_path)
    hear, say = multiprocessing.Pipe()
    other = multiprocessing.get_context("fork").Process(
        target=claim_and_stay, args=(f"sqlite:///{tmp_path}/optuna.db", tmp_path, say)
    )
    other.start()
    try:
        assert hear.poll(30)
        assert hear.recv() == [0, 1, 2]
        assert claim(study, N, BLOCK, tmp_path) == [3, 4, 5]
    finally:
        other.kill()
        other.join()
    assert claim(study, N, BLOCK, tmp_path) == [0, 1, 2]


def test_two_claims_never_share_a_trial(start: Start, tmp_path: Path) -> None:
    enqueue(start(), N, tmp_path)
    with ThreadPoolExecutor(4) as pool:
        blocks = list(pool.map(lambda _: claim(start(), N, 2, tmp_path), range(6)))
    assert sorted(number for block in blocks for number in block) == list(range(N))
    assert sorted(map(len, blocks)) == [0, 0, 2, 2, 2, 2]


def test_parked_trials_go_to_whoever_comes_next(start: Start, tmp_path: Path) -> None:
    study = start()
    enqueue(study, N, tmp_path)
    block = claim(study, N, BLOCK, tmp_path)
    claim(study, N, BLOCK, tmp_path)
    study.tell(0, 0.5)
    park(study, block)
    assert states(study)[:BLOCK] == [TrialState.COMPLETE, TrialState.RUNNING, TrialState.RUNNING]
    again = start()
    assert claim(again, N, BLOCK, tmp_path) == [1, 2]
    assert claim(again, N, BLOCK, tmp_path) == [6, 7]
