"""A study in a real sqlite file for every test: one schema is made, each test gets a copy of it."""

import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages._rdb.storage import _VersionManager
from sqlalchemy import event
from sqlalchemy.engine import Engine
from studies import Start

from kdsweep.search.optuna_internals import SearchStudy
from kdsweep.search.study import SETTINGS, open_study


@pytest.fixture(scope="session")
def fresh_storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as optuna makes it, which takes half a second; copying it takes milliseconds."""
    path = tmp_path_factory.mktemp("storage") / "optuna.db"
    optuna.storages.RDBStorage(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session", autouse=True)
def _quick_to_open() -> Iterator[None]:
    """Optuna reads its schema's migrations, which are many, once and not with every opening."""
    with pytest.MonkeyPatch.context() as patch:
        version = optuna.storages.RDBStorage("sqlite://").get_head_version()
        patch.setattr(_VersionManager, "get_head_version", lambda self: version)
        yield


@pytest.fixture(scope="session", autouse=True)
def _hasty_sqlite() -> Iterator[None]:
    """No test cuts the power, so none waits for the disk."""

    def hurry(connection: Any, record: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", hurry)
    yield
    event.remove(Engine, "connect", hurry)


@pytest.fixture
def start(tmp_path: Path, fresh_storage: Path) -> Start:
    """`start()`: open the study of this test as every start of a search does."""

    def started(
        folder: str = ".",
        *,
        space: dict[str, str] | None = None,
        seeds: Sequence[int] = (0,),
        settings: dict[str, Any] | None = None,
        directions: Sequence[str] = ("maximize",),
        pruner: optuna.pruners.BasePruner | None = None,
    ) -> SearchStudy:
        home = tmp_path / folder
        home.mkdir(exist_ok=True)
        if not (home / "optuna.db").exists():
            shutil.copy(fresh_storage, home / "optuna.db")
        identity: dict[str, Any] = {"space": space or {"T": "1 to 4"}, "search.seeds": list(seeds)}
        if settings is not None:
            identity[SETTINGS] = settings
        return open_study(
            f"sqlite:///{home}/optuna.db",
            "night",
            list(directions),
            identity,
            pruner or optuna.pruners.NopPruner(),
            home,
        )

    return started
