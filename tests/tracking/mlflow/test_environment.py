"""MLflow's own variables decide where runs are logged, unless the command line does."""

import shutil
from pathlib import Path

import pytest
from commands import Command
from typer.testing import CliRunner

from kdsweep.cli import app
from kdsweep.tracking.mlflow.store import MLflowStore


@pytest.fixture
def other(tmp_path: Path, fresh_database: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a store that MLflow's variables name."""
    shutil.copy(fresh_database, tmp_path / "other.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/other.db")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    return f"sqlite:///{tmp_path}/other.db"


@pytest.mark.ci
def test_runs_go_to_the_store_that_the_variables_name(command: Command, other: str) -> None:
    outcome = command("loss=ce", tracking=True)
    assert outcome.code == 0, outcome.err
    assert f"runs are logged to {other}, experiment mine\n" in outcome.err
    (run,) = MLflowStore.existing(other, "mine").search()
    assert run.info.status == "FINISHED"
    found = CliRunner().invoke(app, ["leaderboard"])
    assert found.exit_code == 0, found.output
    assert "ce" in found.output


@pytest.mark.ci
def test_the_command_line_decides_first(command: Command, other: str) -> None:
    words = ["tracking.uri=sqlite:///mlflow.db", "tracking.experiment=typed"]
    outcome = command("loss=ce", *words, tracking=True)
    assert outcome.code == 0, outcome.err
    own = f"sqlite:///{outcome.folder}/mlflow.db"
    assert f"runs are logged to {own}, experiment typed\n" in outcome.err
    assert len(MLflowStore.existing(own, "typed").search()) == 1


@pytest.mark.ci
def test_no_store_is_mentioned_too(command: Command) -> None:
    outcome = command("loss=ce")
    assert "runs are logged to their folders only (tracking.uri=null)\n" in outcome.err
    assert "runs are logged" not in command("loss=ce", "dry_run=true").err


def test_a_refusal_names_the_variable(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "./mlruns")
    outcome = command("loss=ce", tracking=True)
    assert outcome.code == 1
    assert outcome.err.startswith("MLFLOW_TRACKING_URI must be sqlite:///FILE, another database")
    assert outcome.err.count("\n") == 1


@pytest.mark.ci
def test_without_the_variable_the_key_is_named(command: Command) -> None:
    outcome = command("tracking.uri=''", tracking=True)
    assert outcome.code == 1
    assert outcome.err.startswith("tracking.uri must be sqlite:///FILE")
