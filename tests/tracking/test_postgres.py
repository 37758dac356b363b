"""MLflow in PostgreSQL, whose columns have lengths that sqlite does not enforce."""

import os
from pathlib import Path

import pytest
from commands import Command
from mlflow import MlflowClient
from postgres import PASSWORD, Server
from processes import SMALL, finish
from typer.testing import CliRunner

from kdsweep.cli import app
from kdsweep.common.passwords import VARIABLE
from kdsweep.tracking.mlflow.store import MLflowStore
from kdsweep.tracking.run_dir import make_row

pytestmark = [pytest.mark.slow, pytest.mark.server]


@pytest.fixture
def address(postgres_server: Server) -> str:
    """An empty database for each test."""
    return postgres_server.new_database()


LONG = [f"+published.figure_{number}_of_a_paper={number}" for number in range(80)]


def test_a_long_command_is_tracked_and_no_password_is_kept(
    postgres_server: Server, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*SMALL, *LONG, "trainer.epochs=1", "loss=ce,kl", f"tracking.uri={address}"]
    output = finish(tmp_path, words)
    assert "best" in output
    assert PASSWORD not in output
    client = MlflowClient(address)
    experiment = client.get_experiment_by_name("kdsweep")
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    (parent,) = [run for run in runs if run.data.tags["kdsweep.role"] == "sweep"]
    assert len(parent.info.run_name) <= 250
    assert LONG[-1] in parent.data.params["command"]
    dump = postgres_server.texts(address)
    assert "kdsweep:***@" in dump
    assert PASSWORD not in dump
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [p for p in files if PASSWORD in p.read_text(errors="replace")] == []
    assert "done" in finish(tmp_path, [*words, "resume=true", "dry_run=true"])
    (sweep,) = {path.parent for path in tmp_path.glob("multirun/**/sweep.json")}
    monkeypatch.delenv(VARIABLE, raising=False)
    refused = CliRunner().invoke(app, ["sync", str(sweep)])
    assert refused.exit_code == 1
    assert "its password is kept nowhere: give it in the environment (PGPASSWORD)" in refused.output
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    uploaded = CliRunner().invoke(app, ["sync", str(sweep)])
    assert uploaded.exit_code == 0, uploaded.output
    assert "uploaded 0 rows" in uploaded.output


@pytest.mark.parametrize("named_in", ["command", "yaml"])
def test_a_search_with_studies_and_runs_there(
    postgres_server: Server, address: str, tmp_path: Path, named_in: str
) -> None:
    studies = postgres_server.new_database()
    if named_in == "command":
        words = ["search=bayes", f"hydra.sweeper.storage={studies}"]
    else:
        mine = tmp_path.with_name("conf") / "search" / "mine.yaml"
        mine.parent.mkdir(parents=True)
        sweeper = f"hydra: {{sweeper: {{storage: '{studies}'}}}}\n"
        mine.write_text(f"# @package _global_\ndefaults: [bayes, _self_]\n{sweeper}")
        words = [f"hydra.searchpath=[{mine.parents[1]}]", "search=mine"]
    words += [*SMALL, *LONG, "trainer.epochs=1", f"tracking.uri={address}"]
    words += ["hydra.sweeper.n_trials=4", "search.workers=2"]
    output = finish(tmp_path, [*words, "hydra.sweeper.n_jobs=2", "search.finalists=0"])
    assert "4 trials complete" in output
    assert PASSWORD not in output + postgres_server.texts(address) + postgres_server.texts(studies)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [p for p in files if PASSWORD in p.read_text(errors="replace")] == []


def test_everything_is_cut_to_what_the_columns_hold(address: str, tmp_path: Path) -> None:
    store = MLflowStore.open(address, "kdsweep", str(tmp_path / "artifacts"))
    long = "x" * 9000
    run = store.create_run(
        name=long, parent_id=None, tags={f"tag.{long}": long}, params={f"param.{long}": long}
    )
    store.log(run, rows=[make_row(epoch, 0, {f"train/{long}": epoch + 1.0}) for epoch in (0, 1)])
    dataset = {"name": long, "digest": long, "context": "training", "profile": {"classes": long}}
    store.log_dataset(run, dataset)
    store.set_tags(run, {"other": "é" * 9000})
    assert store.log_missing(run, [{"epoch": 0, "time": 0, "metrics": {f"train/{long}": 1.0}}]) == 0
    found = store.client.get_run(run)
    assert found.info.run_name.endswith("…")
    assert len(found.data.metrics) == 1


def test_what_cannot_be_cut_is_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^tracking\.experiment must be at most 256 characters"):
        MLflowStore.open(address, "x" * 300, cwd=tmp_path)
    deep = "/".join(["folder"] * 40)
    with pytest.raises(ValueError, match=r"^tracking\.artifacts must be at most \d+ characters"):
        MLflowStore.open(address, "kdsweep", f"{tmp_path}/{deep}", cwd=tmp_path)


def test_a_command_in_this_process(address: str, command: Command) -> None:
    outcome = command("loss=ce", f"tracking.uri={address}", *LONG, tracking=True)
    assert outcome.code == 0, outcome.err
    assert "PGPASSWORD" not in os.environ
