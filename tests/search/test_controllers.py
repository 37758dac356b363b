"""Several controllers on one study that hosts share, in PostgreSQL or in a journal.

They are real processes, killed with -9 at random moments.
"""

import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from commands import UNDRAWN
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from processes import Fork, assert_mlflow_is_tidy, kill, recorded, results

from kdsweep.search.lease import claim, enqueue
from kdsweep.search.study import open_study

pytestmark = pytest.mark.slow

TRIALS, CONTROLLERS = 60, 3
SMALL_SEARCH = [
    *["search=bayes", "dataset=digits", "student.model.width=8", "teacher.model.width=4"],
    *["trainer.epochs=1", "teacher.trainer.epochs=1", "tracking.checkpoint_seconds=0", *UNDRAWN],
    *["hydra.sweeper.n_jobs=4", "search.finalists=2", "search.finalist_seeds=1"],
]


def search(storage: str, n_trials: int) -> list[str]:
    where = f"hydra.sweeper.storage={storage}"
    return [*SMALL_SEARCH, where, f"hydra.sweeper.n_trials={n_trials}"]


@pytest.fixture(params=[pytest.param("postgresql", marks=pytest.mark.server), "journal"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a storage that hosts can share, with nothing in it."""
    if request.param == "journal":
        return f"journal:///{tmp_path}/optuna.journal"
    address: str = request.getfixturevalue("postgres_server").new_database()
    return address


def trials_in(storage: str) -> list[FrozenTrial]:
    """All trials of the only study of a storage, as another program reads them."""
    if storage.startswith("journal"):
        path = storage.removeprefix("journal:///")
        return optuna.load_study(
            study_name=None, storage=JournalStorage(JournalFileBackend(path))
        ).trials
    database = RDBStorage(storage)
    trials = optuna.load_study(study_name=None, storage=database).trials
    database.engine.dispose()
    return trials


def wait_for(folder: Path, epochs: int, controllers: list[Fork]) -> None:
    """Wait until the runs of a folder have so many epochs, and a random moment more."""
    while recorded(folder) < epochs:
        assert any(controller.poll() is None for controller in controllers), "all have ended"
        time.sleep(0.01)
    time.sleep(random.Random(epochs).random() * 0.3)


@pytest.fixture
def tracking(storage: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """The address of MLflow's store: a database of the same server, else a file."""
    if storage.startswith("journal"):
        return f"sqlite:///{tmp_path}/mlflow.db"
    address: str = request.getfixturevalue("postgres_server").new_database()
    return address


def test_three_controllers_that_are_killed_twice_complete_sixty_trials(
    storage: str, tracking: str, tmp_path: Path
) -> None:
    folder, chance = tmp_path / "search", random.Random(TRIALS)

    def begin() -> Fork:
        return Fork(folder, [*search(storage, TRIALS), f"tracking.uri={tracking}"])

    controllers = [begin() for _ in range(CONTROLLERS)]
    wait_for(folder, chance.randint(5, 20), controllers)
    kill(victim := controllers.pop(chance.randrange(CONTROLLERS)))  # the others continue
    victim.communicate()
    controllers.append(begin())
    wait_for(folder, chance.randint(30, 45), controllers)
    for controller in controllers:
        kill(controller)
        controller.communicate()
    assert {trial.state for trial in trials_in(storage)} != {TrialState.COMPLETE}

    controllers = [begin() for _ in range(CONTROLLERS)]
    outputs = [controller.communicate()[0] for controller in controllers]
    assert [controller.returncode for controller in controllers] == [0] * CONTROLLERS, outputs
    assert any(f"{TRIALS} trials complete, 0 pruned, 0 failed" in text for text in outputs), outputs

    trials = trials_in(storage)
    assert [trial.number for trial in trials] == list(range(TRIALS))
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
    by_place = results(folder)
    assert {result[0] for result in by_place.values()} == {"FINISHED"}
    trained = Counter(int(place.split("/")[0]) for place in by_place if place.endswith("seed-0"))
    assert trained == Counter(range(TRIALS))
    assert len(by_place) == TRIALS + 2
    # of the teacher, the search, the trials, their runs and those of the finalists
    assert_mlflow_is_tidy(folder, 1 + 1 + TRIALS + TRIALS + 2, tracking)


def test_controllers_that_are_not_killed_share_the_work(storage: str, tmp_path: Path) -> None:
    folder = tmp_path / "search"
    controllers = [Fork(folder, search(storage, 24)) for _ in range(CONTROLLERS)]
    outputs = [controller.communicate()[0] for controller in controllers]
    assert [controller.returncode for controller in controllers] == [0] * CONTROLLERS, outputs
    trials = trials_in(storage)
    assert [trial.number for trial in trials] == list(range(24))
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
    owners = {trial.user_attrs["kdsweep.owner"]["pid"] for trial in trials}
    assert len(owners) > 1, "one process did everything"
    assert owners <= {controller.pid for controller in controllers}


@pytest.mark.parametrize("attempt", range(5))
def test_hosts_that_begin_together(storage: str, tmp_path: Path, attempt: int) -> None:
    hosts, n_trials, block = 6, 30, 4
    together = threading.Barrier(hosts)

    def work(host: int) -> list[int]:
        folder = tmp_path / str(host)
        folder.mkdir()
        together.wait()
        claimed: list[int] = []
        pruner = optuna.pruners.NopPruner()
        with closing(
            open_study(storage, "night", ["maximize"], {"space": "T"}, pruner, folder)
        ) as study:
            for total in range(block, n_trials + block, block):
                enqueue(study, min(total, n_trials), folder)
                claimed += claim(study, n_trials, block, folder)
        return claimed

    with ThreadPoolExecutor(hosts) as pool:
        claimed = list(pool.map(work, range(hosts)))
    assert len(trials_in(storage)) == n_trials
    assert sorted(number for block in claimed for number in block) == list(range(n_trials))
