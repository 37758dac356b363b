"""Kill it anywhere: a sweep that is killed with -9 and started again ends as if it had not been.

The sweeps are real ones in child processes. Two kills of three come after a random number of
recorded epochs and a random moment more, so that uploads, checkpoints and the study are hit too;
the third comes at a random moment after the start, so that imports, claiming and planning are.
What every change must pass is run in forks of a process that has imported everything.
"""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cluster_sweeps import owners
from commands import UNDRAWN, Command
from optuna.trial import TrialState
from processes import (
    SMALL,
    Fork,
    Start,
    assert_mlflow_is_tidy,
    finish,
    kill,
    recorded,
    results,
    runs_of,
    start,
    trials,
)

LONGER = ["trainer.epochs=8", "tracking.checkpoint_seconds=0"]
SEARCH = [
    *["search=bayes", *SMALL, *LONGER, "hydra.sweeper.n_trials=8", "hydra.sweeper.n_jobs=4"],
    *["search.seeds=[0,1]", "search.finalists=2", "search.finalist_seeds=1"],
    *["search/pruner=median", "search.pruner.n_startup_trials=2"],
]
FEW = [
    *["search=bayes", *SMALL, *UNDRAWN, "trainer.epochs=4", "tracking.checkpoint_seconds=0"],
    *["hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2", "search.finalists=1"],
    *["search.finalist_seeds=1", "search/pruner=median", "search.pruner.n_startup_trials=1"],
]
STAGES = ["stages=hints", "stages.hints.epochs=6", "teacher.model.width=4"]
AVERAGES = [
    *["trainer.ema=0.9", "trainer.accumulate=2", "trainer.grad_clip=1", "teacher.model.width=4"],
    *["teacher.trainer.ema=0.8", "teacher.trainer.epochs=4"],
]
KINDS = {
    "averages": AVERAGES,
    "peers": ["teacher=peers"],
    "online": ["teacher.online=true", "teacher.model.width=4"],
    "assistant": ["teacher=assistant", "teacher.model.width=4", "teacher.teacher.trainer.epochs=1"],
    "stages": STAGES,
    "stages in bf16": [*STAGES, "trainer.precision=bf16", "trainer.memory_format=channels_last"],
}
GRID = ["T=1,4,16", "alpha=0.1,0.5,0.9", *SMALL, *LONGER, "resume=true"]


def sweep_of(kind: str) -> list[str]:
    """A sweep of this kind of teaching, over two seeds."""
    words = [word for word in SMALL if not word.startswith("teacher.")]
    if kind == "assistant" or kind.startswith("stages"):
        words.append("teacher.trainer.epochs=4")
    return [*words, *LONGER, *KINDS[kind], "student=cnn", "T=1,4", "seed=0,1", "resume=true"]


def finish_with_kills(
    folder: Path, words: Sequence[str], kills: int, epochs: int, start: Start = start
) -> None:
    """Kill a command so many times, each time in another part of its work, then let it finish."""
    longest = 1 if start is Fork else 5  # a fork has no imports ahead of it
    chance = random.Random(kills)
    for number in range(kills):
        target = int(epochs * (number + chance.random()) / (kills + 1))
        process = start(folder, words)
        if number % 3 == 2:
            time.sleep(chance.random() * longest)
        else:
            while process.poll() is None and recorded(folder) < target:
                time.sleep(0.01)
            time.sleep(chance.random() * 0.3)
        assert process.poll() is None, f"it ended before kill {number + 1} of {kills}"
        kill(process)
        process.communicate()
    finish(folder, words, start)


Compared = Callable[[Path], Any]
slow = partial(pytest.param, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("start", "words", "kills", "compared"),
    [
        pytest.param(Fork, FEW, 3, [trials, results], id="search", marks=pytest.mark.ci),
        slow(start, SEARCH, 20, [trials, results], id="search-often"),
        slow(start, GRID, 10, [results], id="grid"),
        *(slow(start, sweep_of(kind), 4, [results], id=kind) for kind in KINDS),
    ],
)
def test_a_killed_sweep_ends_as_if_it_had_not_been(
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    start: Start,
    words: list[str],
    kills: int,
    compared: list[Compared],
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    monkeypatch.chdir(whole)
    outcome = command(*words, tiny=False, tracking=True)
    assert outcome.code == 0, outcome.err
    if start is Fork:
        killed.mkdir()
        shutil.copy(request.getfixturevalue("fresh_database"), killed / "mlflow.db")
    finish_with_kills(killed, words, kills, recorded(whole), start)
    for view in compared:
        assert view(killed) == view(whole)
    assert_mlflow_is_tidy(killed, runs_of(whole))
    assert_mlflow_is_tidy(whole, runs_of(whole))


TWO = [
    *["search=bayes", *SMALL, "trainer.epochs=20", "tracking.checkpoint_seconds=0"],
    *["hydra.sweeper.n_trials=12", "hydra.sweeper.n_jobs=2", "search.workers=2"],
    *["search.finalists=1", "search.finalist_seeds=1"],
]


def assert_whole(folder: Path) -> None:
    """All trials of TWO, each once; a teacher, the search, and runs of trials and a finalist."""
    assert [row[:2] for row in trials(folder)] == [(n, TrialState.COMPLETE) for n in range(12)]
    by_place = results(folder)
    assert sorted(place for place in by_place if place.endswith("seed-0")) == sorted(
        f"{number}/seed-0" for number in range(12)
    )
    assert len(by_place) == 12 + 1
    assert {result[0] for result in by_place.values()} == {"FINISHED"}
    assert_mlflow_is_tidy(folder, 1 + 1 + 12 + 12 + 1)


@pytest.mark.slow
def test_two_workers_that_are_killed_lose_nothing_and_do_nothing_twice(tmp_path: Path) -> None:
    finish_with_kills(tmp_path, TWO, kills=6, epochs=12 * 20)
    assert_whole(tmp_path)


def alive(folder: Path) -> list[int]:
    """The workers that train units now; of one that was killed the attempt is still there."""
    return [pid for pid in owners(folder) if Path(f"/proc/{pid}").exists()]


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced(tmp_path: Path) -> None:
    process = start(tmp_path, TWO)
    for epochs in (60, 150):
        while process.poll() is None and not (recorded(tmp_path) >= epochs and alive(tmp_path)):
            time.sleep(0.01)
        os.kill(alive(tmp_path)[0], signal.SIGKILL)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert "its process has ended (killed by signal 9); it is resumed" in output
    assert_whole(tmp_path)


@pytest.mark.slow
def test_a_search_is_continued_with_another_number_of_workers(tmp_path: Path) -> None:
    """Workers of a controller that was killed park their trials, which the next one waits for."""
    one = [word for word in TWO if not word.startswith("search.workers")]
    for words, epochs in ((TWO, 60), (one, 120), (TWO, 180)):
        process = start(tmp_path, words)
        while process.poll() is None and recorded(tmp_path) < epochs:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    finish(tmp_path, one)
    assert_whole(tmp_path)
