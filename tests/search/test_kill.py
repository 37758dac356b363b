"""Kill it anywhere: a sweep that is killed with -9 and started again ends as if it had not been.

The sweeps are real ones in child processes, killed after a random number of recorded epochs and a
random moment more, so that shipping, checkpoints and the study are hit too.
"""

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from processes import SMALL, assert_mlflow_is_tidy, finish, results, runs_of, start

LONGER = ["trainer.epochs=8", "tracking.checkpoint_seconds=0"]
SEARCH = [
    *["search=bayes", *SMALL, *LONGER, "hydra.sweeper.n_trials=8", "hydra.sweeper.n_jobs=4"],
    *["search.seeds=[0,1]", "search.finalists=2", "search.finalist_seeds=1"],
    *["search/pruner=median", "search.pruner.n_startup_trials=2"],
]
FEW = [
    *["search=bayes", *SMALL, "trainer.epochs=4", "tracking.checkpoint_seconds=0"],
    *["hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2", "search.finalists=1"],
    *["search.finalist_seeds=1", "search/pruner=median", "search.pruner.n_startup_trials=1"],
]
GRID = ["T=1,4,16", "alpha=0.1,0.5,0.9", *SMALL, *LONGER, "resume=true"]


def recorded(folder: Path) -> int:
    """Epochs that all runs together have recorded, those of the teacher as well."""
    return sum(path.read_text().count("\n") for path in folder.glob("**/metrics.jsonl"))


def finish_with_kills(folder: Path, words: Sequence[str], kills: int, epochs: int) -> None:
    """Kill a command so many times, each time in another part of its work, then let it finish."""
    chance = random.Random(kills)
    for kill in range(kills):
        target = int(epochs * (kill + chance.random()) / kills)
        process = start(folder, words)
        while process.poll() is None and recorded(folder) < target:
            time.sleep(0.01)
        time.sleep(chance.random() * 0.4)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    finish(folder, words)


def trials(folder: Path) -> list[Any]:
    """The study's table, without who worked on it and when."""
    storage = f"sqlite:///{folder}/optuna.db"
    (name,) = optuna.get_all_study_names(storage)
    return [
        (
            *(trial.number, trial.state, trial.params, trial.values, trial.intermediate_values),
            {key: value for key, value in trial.user_attrs.items() if key != "kdsweep.owner"},
        )
        for trial in optuna.load_study(study_name=name, storage=storage).trials
    ]


Compared = Callable[[Path], Any]


@pytest.mark.parametrize(
    ("words", "kills", "compared"),
    [
        pytest.param(FEW, 3, [trials, results], id="search"),
        pytest.param(SEARCH, 20, [trials, results], id="search-often", marks=pytest.mark.slow),
        pytest.param(GRID, 10, [results], id="grid", marks=pytest.mark.slow),
    ],
)
def test_a_killed_sweep_ends_as_if_it_had_not_been(
    tmp_path: Path, words: list[str], kills: int, compared: list[Compared]
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(whole, words)
    finish_with_kills(killed, words, kills, recorded(whole))
    for view in compared:
        assert view(killed) == view(whole)
    assert_mlflow_is_tidy(killed, runs_of(whole))
    assert_mlflow_is_tidy(whole, runs_of(whole))
