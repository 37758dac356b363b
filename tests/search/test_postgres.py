"""A study in PostgreSQL: shared by controllers, whether they share a folder or not."""

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from commands import Command
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from postgres import PASSWORD, Server
from processes import SMALL, assert_mlflow_is_tidy, finish, results, runs_of, start

from kdsweep.errors import UserError
from kdsweep.search.lease import claim, enqueue
from kdsweep.search.optuna_internals import SearchStudy
from kdsweep.search.study import open_study

NOBODY_THERE = f"postgresql://me:{PASSWORD}@127.0.0.1:1/studies"


def real(test: Callable[..., None]) -> Callable[..., None]:
    """A test with a real server."""
    return pytest.mark.slow(pytest.mark.server(test))


@pytest.fixture
def storage(postgres_server: Server) -> str:
    """An empty database for each test."""
    return postgres_server.new_database()


def search(storage: str, n_trials: int, epochs: int) -> list[str]:
    return [
        *["search=bayes", *SMALL, f"trainer.epochs={epochs}", f"hydra.sweeper.storage={storage}"],
        *[f"hydra.sweeper.n_trials={n_trials}", "hydra.sweeper.n_jobs=4"],
        *["search.finalists=2", "search.finalist_seeds=1"],
    ]


def trials_in(storage: str) -> list[FrozenTrial]:
    database = RDBStorage(storage)
    (name,) = optuna.get_all_study_names(database)
    trials = optuna.load_study(study_name=name, storage=database).trials
    database.engine.dispose()
    return trials


def assert_none_lost_none_twice(storage: str, n_trials: int) -> None:
    trials = trials_in(storage)
    assert [trial.number for trial in trials] == list(range(n_trials))
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}


def trained(folder: Path) -> Counter[int]:
    """How many runs with the search's seed there are of each trial; each has ended well."""
    by_place = results(folder)
    assert {result[0] for result in by_place.values()} == {"FINISHED"}
    return Counter(int(place.split("/")[0]) for place in by_place if place.endswith("seed-0"))


@real
def test_two_controllers_share_forty_trials(storage: str, tmp_path: Path) -> None:
    words = search(storage, n_trials=40, epochs=5)
    controllers = [start(tmp_path, words) for _ in range(2)]
    outputs = [process.communicate()[0] for process in controllers]
    assert [process.returncode for process in controllers] == [0, 0], outputs
    assert any("40 trials complete, 0 pruned, 0 failed" in text for text in outputs), outputs
    assert_none_lost_none_twice(storage, 40)
    owners = {trial.user_attrs["kdsweep.owner"]["pid"] for trial in trials_in(storage)}
    assert owners == {process.pid for process in controllers}, "one process did everything"
    assert trained(tmp_path) == Counter(range(40))
    assert len(results(tmp_path)) == 40 + 2
    assert_mlflow_is_tidy(tmp_path, runs_of(tmp_path))


@real
def test_controllers_with_folders_of_their_own(storage: str, tmp_path: Path) -> None:
    folders = [tmp_path / "here", tmp_path / "there"]
    words = search(storage, n_trials=12, epochs=5)
    controllers = [start(folder, words) for folder in folders]
    outputs = [process.communicate()[0] for process in controllers]
    assert [process.returncode for process in controllers] == [0, 0], outputs
    assert_none_lost_none_twice(storage, 12)
    assert trained(folders[0]) + trained(folders[1]) == Counter(range(12))


@real
def test_a_killed_controller_is_followed_by_another(storage: str, tmp_path: Path) -> None:
    words = search(storage, n_trials=12, epochs=5)
    process = start(tmp_path, words)
    while process.poll() is None and len(list(tmp_path.glob("multirun/**/result.json"))) < 5:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert {trial.state for trial in trials_in(storage)} != {TrialState.COMPLETE}
    assert "12 trials complete" in finish(tmp_path, words)
    assert_none_lost_none_twice(storage, 12)
    assert trained(tmp_path) == Counter(range(12))
    assert_mlflow_is_tidy(tmp_path, runs_of(tmp_path))


@real
def test_no_file_has_the_password(storage: str, command: Command) -> None:
    outcome = command(*search(storage, n_trials=4, epochs=1), tracking=True)
    assert outcome.code == 0, outcome.err
    assert PASSWORD not in outcome.out + outcome.err
    files = [path for path in outcome.folder.rglob("*") if path.is_file()]
    assert [path for path in files if PASSWORD in path.read_text(errors="replace")] == []


def opened(storage: str, folder: Path) -> SearchStudy:
    folder.mkdir(exist_ok=True)
    pruner = optuna.pruners.NopPruner()
    return open_study(storage, "night", ["maximize"], {"space": "T"}, pruner, folder)


@real
def test_a_server_that_was_restarted(postgres_server: Server, storage: str, tmp_path: Path) -> None:
    with closing(opened(storage, tmp_path)) as study:
        enqueue(study, 4, tmp_path)
        postgres_server.control("-mfast", "restart")
        assert claim(study, 4, 4, tmp_path) == [0, 1, 2, 3]


@pytest.mark.ci
def test_a_server_that_is_not_there(command: Command) -> None:
    outcome = command("search=bayes", f"hydra.sweeper.storage={NOBODY_THERE}")
    assert outcome.code == 1
    assert outcome.err.startswith(
        "hydra.sweeper.storage must be a storage that works, got"
        " postgresql://me:***@127.0.0.1:1/studies: "
    ), outcome.err
    assert "the connection is refused" in outcome.err
    assert outcome.err.count("\n") == 1
    assert PASSWORD not in outcome.out + outcome.err


def test_a_driver_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(UserError, match=r"^hydra\.sweeper\.storage .* pip install 'kdsweep\[post"):
        opened(NOBODY_THERE, tmp_path)


@pytest.mark.parametrize(
    "storage",
    [
        NOBODY_THERE,
        f"postgresql://me:/{PASSWORD}@127.0.0.1:1/studies",
        f"postgresql://me:{PASSWORD}@127.0.0.1:port/studies",
        f"postgresql://127.0.0.1:1/studies?user=me&password={PASSWORD}",
        f"postgresqle://me:{PASSWORD}@127.0.0.1/studies",
        f"nonsense of me:{PASSWORD}@127.0.0.1",
    ],
)
def test_a_refusal_hides_the_password(storage: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^hydra\.sweeper\.storage") as refused:
        opened(storage, tmp_path)
    assert PASSWORD not in str(refused.value)
