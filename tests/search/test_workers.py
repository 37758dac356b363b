"""A search whose trials are trained by workers: the same ones, also if pruned, and no idle time."""

import shutil
from collections.abc import Sequence
from contextlib import chdir
from functools import partial
from pathlib import Path

import optuna
import pytest
from commands import UNDRAWN, Command, run_train
from optuna.trial import FrozenTrial, TrialState
from processes import SMALL, finish, mlflow_runs, results, trials
from sleeping_workers import SleepingWorkers, idle_share
from worker_in_process import WorkerInProcess

from kdsweep.common.files import read_json
from kdsweep.search.lease import LEASE_ATTR
from kdsweep.search.timeout import Deadline, SearchTimeout
from kdsweep.work import local, processes
from kdsweep.work.executor import ExecutorFactory

# Points that depend on no other trial.
SEARCH = [
    *["search=bayes", *SMALL, *UNDRAWN, "hydra/sweeper/sampler=random", "search.name=mine"],
    *["hydra.sweeper.n_trials=5", "hydra.sweeper.n_jobs=2", "search.seeds=[0,1]"],
    *["search.finalists=2", "search.finalist_seeds=2"],
]
CE = ["loss=ce", "teacher=none", "optimizer=sgd", "optimizer.lr=interval(0.01,0.1)"]


def use(patch: pytest.MonkeyPatch, make: ExecutorFactory) -> None:
    """Have units trained by another executor than local processes."""
    patch.setattr(local, "find_workers", lambda workers, specs, is_search: make)


def trials_of(folder: Path) -> list[FrozenTrial]:
    storage = f"sqlite:///{folder}/optuna.db"
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage).trials


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [["hydra.sweeper.n_trials=3", "search.finalists=1"], [], ["loss=ce,kl"]]
)
def test_trials_are_those_of_one_process(
    words: list[str],
    tmp_path: Path,
    fresh_database: Path,
    fresh_storage: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def searched(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        shutil.copy(fresh_database, folder / "mlflow.db")
        shutil.copy(fresh_storage, folder / "optuna.db")
        with chdir(folder):
            assert run_train([*SEARCH, "trainer.epochs=2", *words]) == 0
        return folder

    alone = searched("alone")
    assert not (alone / "multirun/mine/work").exists()
    use(monkeypatch, WorkerInProcess)
    units = searched("units")
    assert list(units.glob("multirun/mine/work/*.json"))
    assert results(units) == results(alone)
    assert trials(units) == trials(alone)
    assert mlflow_runs(units) == mlflow_runs(alone)


class Observed(WorkerInProcess):
    """Notes the trials that a study has when a unit is submitted."""

    def __init__(self, folder: Path, storage: Path, running: list[int]) -> None:
        super().__init__(folder)
        self._storage, self._running = storage, running

    def submit(self, numbers: Sequence[int]) -> None:
        super().submit(numbers)
        found = trials_of(self._storage)
        self._running.append(sum(trial.state is TrialState.RUNNING for trial in found))


@pytest.mark.slow
def test_no_more_blocks_begin_than_there_are_workers(
    command: Command, fresh_storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(fresh_storage, tmp_path / "optuna.db")
    running: list[int] = []
    use(monkeypatch, partial(Observed, storage=tmp_path, running=running))
    few = ["search=bayes", *CE, "hydra.sweeper.n_trials=8", "hydra.sweeper.n_jobs=2"]
    outcome = command(*few, "search.finalists=0", "trainer.epochs=1")
    assert outcome.code == 0, outcome.err
    assert running == [4, 4, 4]  # two blocks at a time


@pytest.mark.slow
def test_equal_points_of_two_blocks_are_trained_once(
    command: Command, fresh_storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(fresh_storage, tmp_path / "optuna.db")
    use(monkeypatch, WorkerInProcess)
    words = [*CE[:-1], "optimizer.lr=0.01,0.02", "hydra/sweeper/sampler=random"]
    few = ["hydra.sweeper.n_trials=6", "hydra.sweeper.n_jobs=1", "search.finalists=0"]
    outcome = command("search=bayes", *words, *few, "trainer.epochs=1")
    assert outcome.code == 0, outcome.err
    points = {str(trial.params) for trial in trials_of(tmp_path)}
    by_place = results(tmp_path)
    assert len(by_place) == 6
    assert sum(result[-1] is None for result in by_place.values()) == len(points) <= 2
    assert len(list(tmp_path.glob("multirun/*/work/?.json"))) == len(points)


@pytest.mark.slow
def test_the_timeout_parks_what_is_in_training(
    command: Command, fresh_storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(fresh_storage, tmp_path / "optuna.db")
    executors: list[WorkerInProcess] = []

    def make(folder: Path) -> WorkerInProcess:
        executors.append(WorkerInProcess(folder))
        return executors[-1]

    def is_over(self: Deadline) -> None:
        raise SearchTimeout(0)

    use(monkeypatch, make)
    monkeypatch.setattr(processes, "LOOK_SECONDS", 0.0)
    words = ["search=bayes", *CE, "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2"]
    words += ["search.finalists=0", "trainer.epochs=1", "search.name=mine"]
    with monkeypatch.context() as patch:
        patch.setattr(Deadline, "check", is_over)
        stopped = command(*words, "search.timeout=1h")
    assert stopped.code == 0, stopped.err
    assert "search.timeout=1h is over" in stopped.err
    assert "stopped, of 4 trials in all; the same command resumes it" in stopped.out
    assert [one.is_closed for one in executors] == [True]
    assert {trial.state for trial in trials_of(tmp_path)} == {TrialState.RUNNING}
    assert {trial.user_attrs[LEASE_ATTR] for trial in trials_of(tmp_path)} == {None}
    again = command(*words)
    assert again.code == 0, again.err
    assert {trial.state for trial in trials_of(tmp_path)} == {TrialState.COMPLETE}
    assert len(list(tmp_path.glob("multirun/mine/work/?.json"))) == 2  # those that were left


@pytest.mark.slow
def test_local_workers_train_the_trials_of_one_controller(tmp_path: Path) -> None:
    words = [*SEARCH, "trainer.epochs=5"]
    finish(tmp_path / "one", words)
    finish(tmp_path / "two", [*words, "search.workers=2"])
    assert results(tmp_path / "two") == results(tmp_path / "one")
    assert trials(tmp_path / "two") == trials(tmp_path / "one")
    controllers = {t.user_attrs["kdsweep.owner"]["pid"] for t in trials_of(tmp_path / "two")}
    assert len(controllers) == 1
    owners = {read_json(path)["pid"] for path in tmp_path.glob("two/**/work/*.attempt-1.json")}
    assert len(owners) == 2


@pytest.mark.slow
def test_workers_stop_what_is_pruned(tmp_path: Path) -> None:
    """Epochs pass while the controller decides, so that a run may stop some of them later."""
    epochs = 150
    words = ["search/pruner=median", "search.pruner.n_startup_trials=1"]
    words += ["search.pruner.n_warmup_steps=0", "hydra.sweeper.n_trials=12", "search.seeds=[0]"]
    folder = tmp_path / "search"
    finish(
        folder,
        [*SEARCH, *words, f"trainer.epochs={epochs}", "search.workers=2", "search.finalists=0"],
    )
    found = trials_of(folder)
    assert {trial.state for trial in found} == {TrialState.PRUNED, TrialState.COMPLETE}
    by_place = results(folder)
    for trial in found:
        status, trained, *_ = by_place[f"{trial.number}/seed-0"]
        assert trial.last_step == trained
        assert sorted(trial.intermediate_values) == list(range(1, trained + 1))
        assert status == {"PRUNED": "PRUNED", "COMPLETE": "FINISHED"}[trial.state.name]
        assert (trained < epochs) == (trial.state is TrialState.PRUNED)


@pytest.mark.slow
def test_no_worker_is_idle_while_trials_wait(
    command: Command, fresh_storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lengths of trials differ five times, because poor ones are pruned."""
    shutil.copy(fresh_storage, tmp_path / "optuna.db")
    monkeypatch.setattr(processes, "LOOK_SECONDS", 0.1)
    use(monkeypatch, partial(SleepingWorkers, workers=2, seconds_of_epoch=1.0))
    words = ["hydra/sweeper/sampler=random", "trainer.epochs=10", "search/pruner=median"]
    words += ["search.pruner.n_startup_trials=2", "search.pruner.n_warmup_steps=0"]
    few = ["hydra.sweeper.n_trials=16", "hydra.sweeper.n_jobs=1", "search.finalists=0"]
    outcome = command("search=bayes", *CE, *words, *few, "search.name=idle")
    assert outcome.code == 0, outcome.err
    found = trials_of(tmp_path)
    assert len(found) == 16
    lengths = [len(trial.intermediate_values) for trial in found]
    assert max(lengths) >= 5 * min(lengths)
    assert idle_share(tmp_path / "multirun/idle", workers=2) < 0.1
