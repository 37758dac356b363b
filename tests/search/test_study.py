"""The study in its storage: opened at every start, and refused if it is another search's."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from studies import Start

from kdsweep.errors import UserError
from kdsweep.search.lease import enqueue
from kdsweep.search.study import open_study


def test_each_start_opens_the_same_study(start: Start, tmp_path: Path) -> None:
    enqueue(start(), 8, tmp_path)
    assert len(start().trials) == 8
    assert optuna.get_all_study_names(f"sqlite:///{tmp_path}/optuna.db") == ["night"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"space": {"T": "1 to 8"}}, "T of the search night must stay 1 to 4, got 1 to 8; another"),
        ({"seeds": (0, 1)}, r"search.seeds of the search night must stay [0], got [0, 1];"),
        (
            {"directions": ("minimize",)},
            "directions of the search night must stay [maximize], got [minimize];",
        ),
        (
            {"directions": ("maximize", "minimize")},
            "directions of the search night must stay [maximize], got [maximize, minimize];",
        ),
    ],
)
def test_another_search_under_the_same_name_is_refused(
    start: Start, changed: dict[str, Any], message: str
) -> None:
    start()
    with pytest.raises(UserError) as refused:
        start(**changed)
    assert message in str(refused.value)
    assert str(refused.value).endswith("another search.name begins another search")
    start()  # the study is unchanged


def test_a_search_of_other_numbers_is_refused_with_the_reason(start: Start) -> None:
    start(numerics=3)
    with pytest.raises(UserError) as refused:
        start(numerics=4)
    assert str(refused.value) == (
        "the numerics (raised by versions of kdsweep that compute other numbers) of the search"
        " night must stay 3, got 4; another search.name begins another search"
    )


OLD = {"a": 1, "b": "x", "c": None, "d": [1, 2], "e": 0.5}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"a": 2}, "a of the search night must stay 1, got 2; another search.name"),
        ({"c": 3}, "c of the search night must stay null, got 3; another search.name"),
        ({"f": 3}, "f of the search night must stay null, got 3; another search.name"),
        (
            {"a": 2, "b": "y"},
            "a of the search night must stay 1, got 2; b must stay x, got y; another search.name",
        ),
        (
            {"a": 2, "b": "y", "c": 0, "d": [2], "e": 1},
            "a of the search night must stay 1, got 2; b must stay x, got y;"
            " c must stay null, got 0; and 2 more; another search.name",
        ),
    ],
)
def test_changed_settings_are_named_three_at_most(
    start: Start, changed: dict[str, Any], message: str
) -> None:
    start(settings=OLD)
    with pytest.raises(UserError) as refused:
        start(settings=OLD | changed)
    assert str(refused.value).startswith(message)
    start(settings=OLD)


@pytest.mark.parametrize("same", [{"a": 1.0}, {"f": None}, {"d": (1, 2)}])
def test_settings_that_mean_the_same_are_the_same(start: Start, same: dict[str, Any]) -> None:
    start(settings=OLD)
    start(settings=OLD | same)


def test_a_study_without_settings_is_resumed_and_stores_them(start: Start) -> None:
    start()
    start(settings=OLD)
    with pytest.raises(UserError, match="a of the search night must stay 1, got 2"):
        start(settings=OLD | {"a": 2})


def test_a_study_of_the_stock_sweeper_keeps_its_direction(start: Start, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/optuna.db"
    made = optuna.create_study(study_name="night", storage=storage, direction="minimize")
    with pytest.raises(UserError, match=r"directions .* must stay \[minimize\]"):
        start()
    assert made.user_attrs == {}


@pytest.mark.parametrize("storage", ["None", "nonsense://x", "sqlite:////proc/none/optuna.db"])
def test_a_storage_that_cannot_work_is_named(storage: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        open_study(storage, "night", ["maximize"], {}, optuna.pruners.NopPruner(), tmp_path)
    message = str(refused.value)
    assert message.startswith(f"hydra.sweeper.storage must be a storage that works, got {storage}:")
    assert "\n" not in message


def test_an_error_that_is_not_of_the_storage_is_raised_as_it_is(start: Start) -> None:
    with pytest.raises(KeyError, match="UP"):
        start(directions=("up",))


def test_a_database_of_another_program_gets_no_tables(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "mail.db")) as connection:
        connection.execute("CREATE TABLE letters (id)")
        pruner, storage = optuna.pruners.NopPruner(), f"sqlite:///{tmp_path}/mail.db"
        with pytest.raises(UserError, match=r"/mail\.db, which belongs to another program"):
            open_study(storage, "night", ["maximize"], {}, pruner, tmp_path)
        tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
    assert tables == [("letters",)]
