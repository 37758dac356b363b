"""Passwords in addresses: in no file, message or row of MLflow's; whoever connects has them."""

import json
import os
import sqlite3
from pathlib import Path

import pytest
from commands import Command
from typer.testing import CliRunner

from kdsweep.cli import app
from kdsweep.common.passwords import (
    VARIABLE,
    lacks_password,
    redact_argument,
    redact_password,
    redact_text,
    register_address,
    reveal,
)
from kdsweep.sweeps.record import mark
from kdsweep.tracking.mlflow import backend
from kdsweep.tracking.mlflow.store import MLflowStore

SECRET = "s3cret"


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "{}")
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")


@pytest.mark.parametrize(
    ("address", "hidden", "without"),
    [
        ("postgresql://me:s3cret@h/db", "postgresql://me:***@h/db", "postgresql://me@h/db"),
        (
            "postgresql+psycopg://me:s3cret@h:1/db?options=a@b",
            "postgresql+psycopg://me:***@h:1/db?options=a@b",
            "postgresql+psycopg://me@h:1/db?options=a@b",
        ),
        ("postgresql://me:/s3cret@h/db", "postgresql://me:***@h/db", "postgresql://me@h/db"),
        ("http://me:s3cret@h:5000/x", "http://me:***@h:5000/x", "http://h:5000/x"),
        (
            "mysql://h/db?user=me&password=s3cret&ssl=1",
            "mysql://h/db?user=me&password=***&ssl=1",
            "mysql://h/db?user=me&ssl=1",
        ),
        ("nonsense of me:s3cret@h", "nonsense of me:***@h", "nonsense of me@h"),
    ],
)
def test_an_address_is_shown_without_its_password(address: str, hidden: str, without: str) -> None:
    assert redact_password(address) == redact_password(hidden) == hidden
    assert reveal(hidden) == without
    assert register_address(address) == hidden
    assert reveal(hidden) == address
    assert not lacks_password(hidden)


@pytest.mark.parametrize(
    "address",
    [
        "http://host:5000/a@b",
        "sqlite:///a@b:c@d.db",
        "sqlite:////tmp/u:p.db",
        "postgresql://me@h/db",
        "postgresql://me:${oc.env:PW}@h/db",
        "${oc.env:STUDIES}",
    ],
)
def test_an_address_without_a_password_stays(address: str) -> None:
    assert redact_argument(f"tracking.uri={address}") == f"tracking.uri={address}"
    assert reveal(address) == address


def test_an_at_sign_in_a_password_is_written_as_drivers_want_it() -> None:
    assert (
        reveal(register_address("postgresql://me:s3@cret@h/db")) == "postgresql://me:s3%40cret@h/db"
    )
    assert reveal(register_address("http://me:s3@cret@h/db")) == "http://me:s3%40cret@h/db"


@pytest.mark.parametrize(
    ("word", "hidden"),
    [
        ("tracking.uri='postgresql://me:s3 cret@h/db'", "tracking.uri='postgresql://me:***@h/db'"),
        ("+hydra.sweeper.storage=me:s3cret@h", "+hydra.sweeper.storage=me:***@h"),
        ("tracking.url=postgresql://me:s3cret@h/db", "tracking.url=postgresql://me:***@h/db"),
        ("student@teacher.peers.second=cnn", "student@teacher.peers.second=cnn"),
        ("loss.fitnet.pairs=[[a:before_relu,b]]", "loss.fitnet.pairs=[[a:before_relu,b]]"),
    ],
)
def test_words_of_the_command_line(word: str, hidden: str) -> None:
    assert redact_argument(word) == hidden


def test_addresses_in_a_text() -> None:
    text = "no: postgresql://me:s3cret@h/db, or http://me:s3cret@h:5000 (twice)"
    assert redact_text(text) == "no: postgresql://me:***@h/db, or http://me:***@h:5000 (twice)"


def everything(folder: Path) -> dict[str, str]:
    """All files as text, MLflow's database and artifacts included."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): path.read_bytes().decode(errors="replace") for path in files}


def assert_no_secret(folder: Path, *outputs: str) -> None:
    assert [name for name, text in everything(folder).items() if SECRET in text] == []
    assert not any(SECRET in text for text in outputs)


@pytest.fixture
def store_behind(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """`postgresql://` leads to sqlite:///mlflow.db; the addresses that were gone to."""
    resolve, gone_to = backend.resolve, []

    def elsewhere(uri: str, cwd: Path) -> str:
        if uri.startswith("postgresql"):
            gone_to.append(resolve(uri, cwd))
            return resolve("sqlite:///mlflow.db", cwd)
        return resolve(uri, cwd)

    monkeypatch.setattr(backend, "resolve", elsewhere)
    return gone_to


ADDRESS = f"postgresql://me:{SECRET}@h/db"


@pytest.mark.ci
@pytest.mark.parametrize(
    "words",
    [
        ["loss=ce", "seed=0,1", "trainer.epochs=1"],
        pytest.param(["loss=ce,kl", "tracking.report=true"], marks=pytest.mark.slow),
    ],
)
def test_no_file_row_or_line_has_the_password_of_a_command(
    command: Command, store_behind: list[str], words: list[str]
) -> None:
    words = [f"tracking.uri={ADDRESS}", *words]
    outcome = command(*words, tracking=True)
    assert outcome.code == 0, outcome.err
    assert set(store_behind) == {ADDRESS}
    assert_no_secret(outcome.folder, outcome.out, outcome.err)
    (name,) = {json.loads(p.read_text())["name"] for p in outcome.folder.rglob("sweep.json")}
    assert "tracking.uri=postgresql://me:***@h/db" in name
    with sqlite3.connect(outcome.folder / "mlflow.db") as rows:
        dump = "\n".join(rows.iterdump())
    assert "me:***@h/db" in dump
    assert SECRET not in dump
    assert command(*words, "resume=true", tracking=True).code == 0
    assert_no_secret(outcome.folder)


@pytest.mark.slow
def test_the_password_of_an_environment_variable_or_a_yaml_is_written_nowhere(
    command: Command, store_behind: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "conf" / "tracking"
    mine.mkdir(parents=True)
    (mine / "mine.yaml").write_text(f"defaults: [mlflow]\nuri: {ADDRESS}\n")
    monkeypatch.setenv("STORE", ADDRESS)
    for words in (["tracking.uri=${oc.env:STORE}"], ["hydra.searchpath=[conf]", "tracking=mine"]):
        for launcher in ("lockstep", "basic"):
            # Several may start in one second, and a stock launcher claims no folder of its own.
            folder = f"hydra.sweep.dir=multirun/{len(words)}-{launcher}"
            sweep = [folder, f"hydra/launcher={launcher}", "seed=0,1"]
            outcome = command(*words, *sweep, tracking=True)
            assert outcome.code == 0, outcome.err
            assert SECRET not in outcome.out + outcome.err
    assert set(store_behind) == {ADDRESS}
    (mine / "mine.yaml").unlink()
    assert_no_secret(outcome.folder)


@pytest.mark.parametrize(
    "words",
    [
        [f"tracking.urii={ADDRESS}"],
        [f"tracking.uri={ADDRESS.replace('s3cret', 's3cret(')}", "T=0"],
        pytest.param(
            [f"tracking.uri=postgresql://me:{SECRET}@127.0.0.1:1/db"], marks=pytest.mark.slow
        ),
        pytest.param([f"tracking.uri=ftp://me:{SECRET}@h"], marks=pytest.mark.slow),
        # test_artifacts_hold_no_password refuses the same
        pytest.param([f"tracking.artifacts=ftp://me:{SECRET}@h"], marks=pytest.mark.slow),
        [f"tracking.uri=http://me:{SECRET}@127.0.0.1:1"],
        [f"tracking.uri={ADDRESS}", "T=0", "debug=true"],
        ["search=bayes", f"hydra.sweeper.storage=postgresql://me:{SECRET}@127.0.0.1:1/db"],
    ],
)
def test_no_refusal_has_the_password(command: Command, words: list[str]) -> None:
    outcome = command(*words, tracking=True)
    assert outcome.code == 1
    assert outcome.err
    assert_no_secret(outcome.folder, outcome.out, outcome.err)


@pytest.mark.parametrize("launcher", ["lockstep", "basic"])
def test_the_stock_search_would_write_it_to_its_log(command: Command, launcher: str) -> None:
    words = ["hydra/sweeper=optuna", f"hydra/launcher={launcher}", "T=1,4"]
    outcome = command(*words, f"hydra.sweeper.storage={ADDRESS}")
    assert outcome.code == 1
    assert "hydra.sweeper.storage must hold no password with Hydra's own optuna" in outcome.err
    assert_no_secret(outcome.folder, outcome.out, outcome.err)


@pytest.mark.ci
def test_sync_connects_without_a_lost_password(command: Command, store_behind: list[str]) -> None:
    words = ["loss=ce", "trainer.epochs=1", f"tracking.uri={ADDRESS}"]
    outcome = command(*words, tracking=True)
    assert outcome.code == 0, outcome.err
    os.environ[VARIABLE] = "{}"
    mark(outcome.sweep, {"tracking_uri": "postgresql://me:***@h/db"})
    store_behind.clear()
    assert CliRunner().invoke(app, ["sync", str(outcome.sweep)]).exit_code == 0
    assert set(store_behind) == {"postgresql://me@h/db"}, "the driver reads the environment"


def test_a_lost_password_is_explained_in_the_message(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"PGPASSWORD\) or ~/\.pgpass or in --uri$"):
        MLflowStore.open("postgresql://me:***@127.0.0.1:1/db", "kdsweep", cwd=tmp_path)
    with pytest.raises(ValueError, match=r"MLFLOW_TRACKING_PASSWORD\) or in --uri$"):
        MLflowStore.open("http://me:***@127.0.0.1:1", "kdsweep", cwd=tmp_path)


def test_artifacts_hold_no_password(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^tracking\.artifacts must hold no password") as refused:
        MLflowStore.open("sqlite:///m.db", "kdsweep", f"ftp://me:{SECRET}@h", cwd=tmp_path)
    assert SECRET not in str(refused.value)
