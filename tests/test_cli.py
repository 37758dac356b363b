"""The doors: Hydra's own switches on train.py, and the words of the console script."""

import shutil
from pathlib import Path

import pytest
from commands import Command
from typer.testing import CliRunner

from kdsweep.cli import GROUPS, app
from kdsweep.tracking.mlflow_store import MLflowStore


def test_help_is_a_page_of_our_own(command: Command) -> None:
    page = command("--help", tiny=False).out
    assert "python train.py -m loss=kl T=1,4,16 alpha=0.1,0.5,0.9" in page
    for group in GROUPS:
        assert f"\n{group}: " in page or f"\n  {group}" in page, group
    assert "soft_ce" in page


def test_cfg_job_prints_the_config_and_trains_nothing(command: Command) -> None:
    outcome = command("--cfg", "job", "T=9", tiny=False)
    assert "T: 9.0" in outcome.out
    assert "_target_: kdsweep.losses.kl.KL" in outcome.out
    assert list(outcome.folder.iterdir()) == []


def test_tab_completion_knows_groups_and_keys(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def completed(line: str) -> set[str]:
        monkeypatch.setenv("COMP_LINE", f"python train.py {line}")
        return set(command("-sc", "query=bash", tiny=False).out.split())

    assert {"loss=ce", "loss=kl", "loss=fitnet"} <= completed("loss=")
    assert "trainer.epochs=" in completed("trainer.e")


def test_kdsweep_names_its_words() -> None:
    page = CliRunner().invoke(app, ["--help"]).output
    assert "train" in page
    assert "sync" in page


def test_kdsweep_sync_ships_a_sweep_that_was_trained_without_a_store(
    command: Command, fresh_database: Path
) -> None:
    trained = command("T=1,4")
    for config in trained.sweep.glob("*/config.yaml"):
        text = config.read_text()
        assert "uri: null" in text
        config.write_text(text.replace("uri: null", "uri: sqlite:///mlflow.db"))
    shutil.copy(fresh_database, trained.folder / "mlflow.db")
    shipped = CliRunner().invoke(app, ["sync", str(trained.sweep)])
    assert shipped.exit_code == 0, shipped.output
    assert "kl T=1 alpha=0.5 seed=0" in shipped.output
    store = MLflowStore.open("sqlite:///mlflow.db", "kdsweep", "mlartifacts")
    runs = store.client.search_runs([store.experiment_id])
    assert sorted(run.info.run_name for run in runs if run.data.metrics) == [
        "kl T=1 alpha=0.5 seed=0",
        "kl T=4 alpha=0.5 seed=0",
    ]


def test_kdsweep_sync_refuses_a_folder_without_runs(tmp_path: Path) -> None:
    refused = CliRunner().invoke(app, ["sync", str(tmp_path)])
    assert refused.exit_code == 1
    assert "FOLDER must be the folder of a run or a sweep" in refused.output
