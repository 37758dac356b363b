"""The folders of trials, and the points that are checked before the first one."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from commands import Command

from kdsweep.common.files import read_json
from kdsweep.data.fake import Fake

SEARCH = [
    "search=bayes",
    "search.name=mine",
    "search.seeds=[0]",
    "search.finalists=0",
    "hydra.sweeper.n_trials=2",
    "hydra.sweeper.n_jobs=2",
    "loss=kl",
]


def contents(folder: Path) -> dict[str, bytes]:
    paths = folder.glob("multirun/mine/*/seed-*/**/*")
    return {str(path): path.read_bytes() for path in paths if path.is_file()}


@pytest.mark.slow
def test_the_same_search_finds_its_trials_without_its_storage(command: Command) -> None:
    first = command(*SEARCH, "T=interval(1,4)")
    before = contents(first.folder)
    (first.folder / "optuna.db").unlink()
    again = command(*SEARCH, "T=interval(1,4)")
    assert again.code == 0, again.err
    assert "epoch" not in again.err, "something was trained again"
    assert contents(first.folder) == before


@pytest.mark.slow
def test_a_search_is_refused_other_data(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    first = command(*SEARCH, "T=interval(1,4)")
    before = contents(first.folder)
    monkeypatch.setattr(Fake, "digest", lambda self: "of other images")
    again = command(*SEARCH, "T=interval(1,4)", "hydra.sweeper.n_trials=4")
    assert again.code == 1
    assert "content of dataset of the search mine must stay" in again.err
    assert contents(first.folder) == before


@pytest.mark.slow
def test_a_search_does_not_begin_in_the_folder_of_a_grid(command: Command) -> None:
    first = command("T=1", "hydra.sweep.dir=multirun/mine")
    before = read_json(first.folder / "multirun" / "mine" / "sweep.json")
    again = command(*SEARCH, "T=interval(1,4)")
    assert again.code == 1
    assert "multirun/mine holds a sweep" in again.err
    assert read_json(first.folder / "multirun" / "mine" / "sweep.json") == before


@pytest.mark.slow
def test_a_damaged_result_of_a_trial_is_trained_again(command: Command) -> None:
    first = command(*SEARCH, "T=interval(1,4)")
    result = first.folder / "multirun" / "mine" / "1" / "seed-0" / "result.json"
    whole = read_json(result)["weights_sha256"]
    result.write_text("")
    (first.folder / "optuna.db").unlink()
    again = command(*SEARCH, "T=interval(1,4)")
    assert again.code == 0, again.err
    assert read_json(result)["weights_sha256"] == whole


BRIEF = ["search=bayes", "hydra.sweeper.n_trials=2", "search.seeds=[0]"]


def slow(words: list[str], message: str) -> Any:
    """A case that another one stands for in the fast tier."""
    return pytest.param(words, message, marks=pytest.mark.slow)


def tables(file: Path) -> set[str]:
    with closing(sqlite3.connect(file)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}


@pytest.mark.ci
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["alpha=interval(0,2)"], "alpha must be"),
        slow(["T=interval(0,8)"], "T must be"),
        slow(["trainer.batch_size=int(interval(0,8))"], "trainer.batch_size must be"),
        slow(["loss=kl,dkd", "alpha=interval(0,2)"], "alpha must be"),
        slow(["alpha=choice(0.1,0.9,7)"], "alpha must be"),
    ],
)
def test_a_range_whose_ends_are_not_allowed_is_refused_before_it_starts(
    command: Command, words: list[str], message: str
) -> None:
    outcome = command(*BRIEF, *words)
    assert outcome.code == 1
    assert message in outcome.err
    assert "which is searched" in outcome.err
    assert "Traceback" not in outcome.err
    assert not (outcome.folder / "optuna.db").exists()
    assert not list(outcome.folder.glob("multirun/*/*/run.json"))


@pytest.mark.slow
def test_optuna_puts_no_tables_into_the_database_of_mlflow(command: Command) -> None:
    storage = "hydra.sweeper.storage=sqlite:///mlflow.db"
    outcome = command(*BRIEF, storage, tracking=True)
    assert outcome.code == 1
    assert "hydra.sweeper.storage must be a database of its own" in outcome.err
    assert "belongs to MLflow" in outcome.err
    assert "studies" not in tables(outcome.folder / "mlflow.db")
