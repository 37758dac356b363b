"""A database server that accepts a connection and then hangs ends a command with a message."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import NoReturn

import mlflow
import optuna
import pytest
from servers import silent
from sqlalchemy import create_engine

from kdsweep.errors import UserError
from kdsweep.search import storage, study
from kdsweep.tracking.mlflow import backend, connections
from kdsweep.tracking.mlflow.connections import bounded
from kdsweep.tracking.mlflow.store import MLflowStore

HERE = "postgresql+psycopg://me:s3cret@h/db"


@pytest.fixture(autouse=True)
def no_limit_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGCONNECT_TIMEOUT", raising=False)


@pytest.mark.parametrize(
    ("address", "option"),
    [
        ("postgresql://h/db", "?connect_timeout=10"),
        (HERE, "?connect_timeout=10"),
        (f"{HERE}?sslmode=require", "&connect_timeout=10"),
        ("postgresql+psycopg2:///db?host=/tmp", "&connect_timeout=10"),
        ("mysql://h/db", "?connect_timeout=10"),
        ("mysql+pymysql://h/db", "?connect_timeout=10"),
        (f"{HERE}?connect_timeout=99", ""),
        ("postgresql+pg8000://h/db", ""),  # it would refuse the option
        ("sqlite:////tmp/mlflow.db", ""),
        ("http://h:5000", ""),
    ],
)
def test_an_address_of_a_server_gets_a_limit(address: str, option: str) -> None:
    assert bounded(address) == address + option


def test_the_limit_of_the_environment_is_the_user_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "99")
    assert bounded(HERE) == HERE
    assert bounded("mysql://h/db") != "mysql://h/db"


def open_store(address: str, folder: Path) -> None:
    MLflowStore.open(address, "kdsweep", cwd=folder)


def open_study(address: str, folder: Path) -> None:
    study.open_study(address, "mine", ["maximize"], {}, optuna.pruners.NopPruner(), folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "open_database"),
    [("tracking.uri", open_store), ("hydra.sweeper.storage", open_study)],
)
def test_a_server_that_hangs_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    key: str,
    open_database: Callable[[str, Path], None],
) -> None:
    monkeypatch.setattr(connections, "CONNECT_SECONDS", 2)
    with silent() as port:
        begun = time.monotonic()
        with pytest.raises((ValueError, UserError), match=rf"^{key} must be ") as refused:
            open_database(f"postgresql+psycopg://me:s3cret@127.0.0.1:{port}/db", tmp_path)
        assert time.monotonic() - begun < 60  # a busy machine; the driver's own limit is 130
    message = str(refused.value)
    assert "no answer in time" in message
    assert "\n" not in message
    assert "s3cret" not in message


def test_a_port_that_is_no_number_is_refused_by_its_key(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^tracking\.uri must be .* cannot be opened"):
        MLflowStore.open("postgresql://h:port/db", "kdsweep", cwd=tmp_path)


def test_mlflow_and_optuna_connect_with_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(address: str = "", *_: object, tracking_uri: str = "") -> NoReturn:
        raise ValueError(f"goes to {address or tracking_uri}")

    monkeypatch.setattr(backend, "ensure_store", lambda *_: nullcontext())
    monkeypatch.setattr(mlflow, "MlflowClient", stopped)
    with pytest.raises(ValueError, match=r"goes to .*/db\?connect_timeout=10$"):
        MLflowStore.open(HERE, "kdsweep", cwd=tmp_path)
    with pytest.raises(ValueError, match=r"goes to .*/db\?connect_timeout=10$"):
        MLflowStore.refuse_absent(HERE, cwd=tmp_path)

    monkeypatch.setattr(connections, "engine_of", lambda _: create_engine("sqlite://"))
    monkeypatch.setattr(storage, "RDBStorage", stopped)
    with pytest.raises(UserError, match=r"goes to .*/db\?connect_timeout=10$"):
        open_study(HERE, tmp_path)
