"""Several processes on one search: nothing lost, nothing twice."""

from collections import Counter
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from processes import SMALL, assert_mlflow_is_tidy, finish, results, runs_of, start

SEARCH = [
    *["search=bayes", *SMALL, "hydra.sweeper.n_trials=12"],
    *["hydra.sweeper.n_jobs=2", "search.finalists=2", "search.finalist_seeds=1"],
]


def assert_whole(folder: Path) -> None:
    storage = f"sqlite:///{folder}/optuna.db"
    (name,) = optuna.get_all_study_names(storage)
    trials = optuna.load_study(study_name=name, storage=storage).trials
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 12
    owners = Counter(trial.user_attrs["kdsweep.owner"]["pid"] for trial in trials)
    assert len(owners) == 2, "one process did everything"
    found = results(folder)
    assert len(found) == 12 + 2
    assert {result[0] for result in found.values()} == {"FINISHED"}
    assert_mlflow_is_tidy(folder, runs_of(folder))


@pytest.mark.slow
def test_two_controllers_share_a_search(tmp_path: Path) -> None:
    first = start(tmp_path, [*SEARCH, "trainer.epochs=5"])
    second = start(tmp_path, [*SEARCH, "trainer.epochs=5"])
    said = [process.communicate()[0] for process in (first, second)]
    assert first.returncode == second.returncode == 0, said
    assert any("12 trials complete" in text for text in said)
    assert_whole(tmp_path)


@pytest.mark.slow
def test_a_controller_starts_its_workers(tmp_path: Path) -> None:
    said = finish(tmp_path, [*SEARCH, "trainer.epochs=30", "search.workers=2"])
    assert "12 trials complete" in said
    assert list(tmp_path.glob("multirun/*/worker-1.log"))
    assert_whole(tmp_path)
