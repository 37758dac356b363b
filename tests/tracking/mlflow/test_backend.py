"""Stores that cannot be used are refused in one message that names key, value and cure."""

import multiprocessing
import socket
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from kdsweep.tracking.mlflow import backend as database_module
from kdsweep.tracking.mlflow.backend import resolve
from kdsweep.tracking.mlflow.store import MLflowStore
from kdsweep.tracking.run_dir import make_row

pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"
)


def refusal(folder: Path, uri: str = "sqlite:///mlflow.db", artifacts: str = "mlartifacts") -> str:
    with pytest.raises(ValueError, match=r"^tracking\.") as caught:
        MLflowStore.open(uri, "kdsweep", artifacts, cwd=folder)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert uri in sentence or artifacts in sentence
    return sentence


def sql(file: Path, *statements: str) -> None:
    with closing(sqlite3.connect(file)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def tables(file: Path) -> set[str]:
    with closing(sqlite3.connect(file)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}


def test_a_relative_path_counts_from_the_given_folder(tmp_path: Path) -> None:
    assert resolve("sqlite:///a/../m.db?x=1", tmp_path) == f"sqlite:///{tmp_path}/m.db?x=1"
    assert resolve(f"sqlite:///{tmp_path}/m.db", Path("/")) == f"sqlite:///{tmp_path}/m.db"
    assert resolve("http://host:5000", tmp_path) == "http://host:5000"


@pytest.mark.parametrize(
    "uri", ["file:./mlruns", "mlruns", "ftp://host", "sqlite:///", "sqlite:///:memory:", "sqlite:m"]
)
def test_an_address_without_a_usable_store_is_refused(tmp_path: Path, uri: str) -> None:
    assert "sqlite:///mlflow.db" in refusal(tmp_path, uri)
    assert list(tmp_path.iterdir()) == [tmp_path / "mlartifacts"] or not list(tmp_path.iterdir())


def test_garbage_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    file.write_bytes(b"this is no database" * 100)
    assert "no sqlite file" in refusal(tmp_path)
    assert file.read_bytes() == b"this is no database" * 100


def test_the_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    sql(file, "CREATE TABLE studies (id)", "CREATE TABLE alembic_version (version_num)")
    before = file.read_bytes()
    assert "another program" in refusal(tmp_path)
    assert file.read_bytes() == before


def test_a_newer_schema_is_refused_without_advice_to_upgrade_it(database: Path) -> None:
    sql(database, "UPDATE alembic_version SET version_num = 'ffffffffffff'")
    sentence = refusal(database.parent)
    assert "newer" in sentence
    assert "update mlflow" in sentence
    assert "db upgrade" not in sentence


def test_an_older_schema_is_refused_with_the_command_that_upgrades_it(database: Path) -> None:
    sql(
        database,
        "UPDATE alembic_version SET version_num = '451aebb31d03'",  # mlflow's second migration
        "DROP TABLE inputs",  # mlflow itself would upgrade this one by itself
    )
    sentence = refusal(database.parent)
    assert f"mlflow db upgrade sqlite:///{database}" in sentence
    assert "inputs" not in tables(database)


@pytest.mark.ci
def test_a_locked_database_is_refused_soon(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "LOCK_SECONDS", 0.2)
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        start = time.monotonic()
        assert "locked" in refusal(database.parent)
        assert time.monotonic() - start < 2


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refusal(tmp_path, "sqlite:///file/mlflow.db")


def test_an_artifact_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "tracking.artifacts" in refusal(tmp_path, artifacts="file/artifacts")


def test_a_folder_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").mkdir()
    assert "it is a folder" in refusal(tmp_path)


def test_a_server_that_does_not_answer_is_refused_at_once(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
        start = time.monotonic()
        assert "nothing answers" in refusal(tmp_path, uri)
        assert time.monotonic() - start < 6


def test_a_database_server_without_its_driver_is_refused(tmp_path: Path) -> None:
    assert "cannot be opened" in refusal(tmp_path, "mssql+nosuchdriver://host/db")


def test_a_deleted_experiment_is_refused_with_the_command_that_restores_it(
    store: MLflowStore, tmp_path: Path
) -> None:
    store.client.delete_experiment(store.experiment_id)
    with pytest.raises(ValueError, match=r"tracking\.experiment .* kdsweep; .*restore -x 2"):
        MLflowStore.open("sqlite:///mlflow.db", "kdsweep", cwd=tmp_path)


def test_an_experiment_needs_a_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"tracking\.experiment"):
        MLflowStore.open("sqlite:///mlflow.db", " ", cwd=tmp_path)


@pytest.mark.slow
def test_a_new_database_is_made_in_one_step_over_an_empty_file(
    tmp_path: Path, fresh_database: Path
) -> None:
    (tmp_path / "mlflow.db").touch()
    # What an interrupted creation leaves lies next to the database, never in its place.
    for name in ("mlflow.db.new", "mlflow.db.new-journal"):
        (tmp_path / name).write_bytes(b"half a schema")
    store = MLflowStore.open("sqlite:///mlflow.db", "kdsweep", cwd=tmp_path)
    assert tables(tmp_path / "mlflow.db") == tables(fresh_database)
    assert store.uri == f"sqlite:///{tmp_path}/mlflow.db"
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {"mlflow.db", "mlflow.db.lock", "mlartifacts"}


def open_and_log(folder: str) -> str:
    store = MLflowStore.open("sqlite:///mlflow.db", "kdsweep", cwd=Path(folder))
    run_id = store.create_run(name="run", parent_id=None, tags={}, params={})
    store.log(run_id, rows=[make_row(0, 1, {"val/acc": 0.5})])
    return store.experiment_id


@pytest.mark.slow
def test_processes_that_open_a_new_database_together_share_it(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        experiments = pool.map(open_and_log, [str(tmp_path)] * 2, chunksize=1)
    assert len(set(experiments)) == 1
    store = MLflowStore.open("sqlite:///mlflow.db", "kdsweep", cwd=tmp_path)
    runs = store.client.search_runs([store.experiment_id])
    assert [run.data.metrics for run in runs] == [{"val/acc": 0.5}] * 2
