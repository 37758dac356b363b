"""A project's folder may be named with anything: nothing is made elsewhere, nothing is lost."""

import shutil
from pathlib import Path

import pytest
from commands import Command
from mlflow import MlflowClient
from typer.testing import CliRunner

from kdsweep.cli import app
from kdsweep.common.files import read_json
from kdsweep.tracking.mlflow.backend import sqlite_address

# Each of these is something else in an address, a filter, a shell, a template or a config.
NAMES = [
    "a%20b?c=d&e#f:g 'h' \"i\" ünï $x {y} [z] + ; , ~ @ * 100%",
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in (
            "%3Fx",
            "q?x",
            "h#x",
            "c:d",
            "back\\slash",
            "%(x)s",
            "日本",
            "<b>&amp;",
            "`id`",
        )
    ),
]


def runs_with_weights(project: Path) -> dict[str, str]:
    """Name -> state of a project's runs in MLflow, all of whose artifacts lie in the project."""
    client = MlflowClient(sqlite_address(project / "mlflow.db"))
    experiment = client.get_experiment_by_name("kdsweep")
    found = client.search_runs([experiment.experiment_id], "tags.`kdsweep.role` = 'run'")
    for run in found:
        place = project / "mlartifacts" / run.info.run_id / "artifacts"
        assert (place / "checkpoint" / "model.safetensors").is_file()
    return {run.info.run_name: run.info.status for run in found}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_sweep_its_resumption_report_and_sync(
    command: Command,
    fresh_database: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    project = tmp_path / "projects" / name
    project.mkdir(parents=True)
    shutil.copy(fresh_database, project / "mlflow.db")
    monkeypatch.chdir(project)
    first = command("T=1,4", "tracking.plots=sweep", tracking=True)
    assert first.code == 0, first.err
    done = {"kl T=1 alpha=0.5 seed=0": "FINISHED", "kl T=4 alpha=0.5 seed=0": "FINISHED"}
    assert runs_with_weights(project) == done
    (sweep,) = (path.parent for path in project.glob("multirun/*/*/sweep.json"))
    whole = {path: read_json(path)["weights_sha256"] for path in sweep.glob("*/result.json")}
    shutil.rmtree(sweep / "1")
    again = command("T=1,4", "resume=true", tracking=True)
    assert again.code == 0, again.err
    assert "resume: continues in" in again.err
    assert {path: read_json(path)["weights_sha256"] for path in whole} == whole
    assert runs_with_weights(project) == done
    for words in (["sync", str(sweep)], ["report", str(sweep)]):
        message = CliRunner().invoke(app, words)
        assert message.exit_code == 0, message.output
    assert "uploaded 0 rows" in CliRunner().invoke(app, ["sync", str(sweep)]).output
    assert [path.name for path in project.parent.iterdir()] == [name], (
        "something was made elsewhere"
    )


@pytest.mark.slow
def test_a_search(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = str(NAMES[0])
    project = tmp_path / "projects" / name
    project.mkdir(parents=True)
    monkeypatch.chdir(project)
    words = ["search=bayes", "hydra.sweeper.n_trials=2", "search.seeds=[0]", "search.finalists=0"]
    for _ in range(2):
        outcome = command(*words, "hydra.sweeper.n_jobs=1", tracking=True)
        assert outcome.code == 0, outcome.err
    assert len(runs_with_weights(project)) == 2
    assert (project / "optuna.db").is_file()
    assert [path.name for path in project.parent.iterdir()] == [name]


@pytest.mark.slow
def test_the_folder_of_a_sweep(command: Command) -> None:
    words = ["T=1,4", "hydra.sweep.dir='s %3F?#'"]
    assert command(*words, tracking=True).code == 0
    again = command(*words, "resume=true", tracking=True)
    assert again.code == 0, again.err
    assert runs_with_weights(again.folder).keys() == {
        "kl T=1 alpha=0.5 seed=0",
        "kl T=4 alpha=0.5 seed=0",
    }
    assert (again.folder / "s %3F?#" / "results.csv").is_file()


def test_a_folder_that_hydra_reads_as_an_interpolation_is_refused(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "${x}"
    project.mkdir()
    monkeypatch.chdir(project)
    outcome = command("T=1")
    assert outcome.code == 1
    assert f"the current folder must have no ${{ in its path, got {project}" in outcome.err
    assert not list(project.iterdir())
