"""What a search would trip over in the night is refused before its first trial."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from commands import Command

SEARCH = ["search=bayes", "hydra.sweeper.n_trials=2", "search.seeds=[0]"]


def slow(words: list[str], sentence: str) -> Any:
    """A case that another one stands for in the fast tier."""
    return pytest.param(words, sentence, marks=pytest.mark.slow)


def tables(file: Path) -> set[str]:
    with closing(sqlite3.connect(file)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["alpha=interval(0,2)"], "alpha must be"),
        slow(["T=interval(0,8)"], "T must be"),
        slow(["trainer.batch_size=int(interval(0,8))"], "trainer.batch_size must be"),
        slow(["loss=kl,dkd", "alpha=interval(0,2)"], "alpha must be"),
        slow(["alpha=choice(0.1,0.9,7)"], "alpha must be"),
    ],
)
def test_a_range_whose_ends_are_not_allowed_is_refused_before_it_starts(
    command: Command, words: list[str], sentence: str
) -> None:
    outcome = command(*SEARCH, *words)
    assert outcome.code == 1
    assert sentence in outcome.err
    assert "which is searched" in outcome.err
    assert "Traceback" not in outcome.err
    assert not (outcome.folder / "optuna.db").exists()
    assert not list(outcome.folder.glob("multirun/*/*/run.json"))


@pytest.mark.slow
def test_optuna_puts_no_tables_into_the_database_of_mlflow(command: Command) -> None:
    storage = "hydra.sweeper.storage=sqlite:///mlflow.db"
    outcome = command(*SEARCH, storage, tracking=True)
    assert outcome.code == 1
    assert "hydra.sweeper.storage must be a database of its own" in outcome.err
    assert "belongs to MLflow" in outcome.err
    assert "studies" not in tables(outcome.folder / "mlflow.db")


def test_optuna_puts_no_tables_into_the_database_of_another_program(
    command: Command, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / "mail.db")) as connection:
        connection.execute("CREATE TABLE letters (id)")
    outcome = command(*SEARCH, "hydra.sweeper.storage=sqlite:///mail.db")
    assert outcome.code == 1
    assert "got sqlite:///mail.db, which belongs to another program" in outcome.err
    assert tables(tmp_path / "mail.db") == {"letters"}
