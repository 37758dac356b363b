"""The doors: Hydra's own switches on train.py, and the words of the console script."""

import shutil
from pathlib import Path

import pytest
from click.testing import Result
from commands import Command, Outcome, copy_of
from mlflow.entities import Run
from typer.testing import CliRunner

from kdsweep.cli import app
from kdsweep.common.files import read_json, write_json_atomic
from kdsweep.tracking.mlflow.store import MLflowStore

GROUPS = ("dataset", "teacher", "student", "loss", "optimizer", "schedule", "trainer", "tracking")


@pytest.mark.ci
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


@pytest.mark.ci
def test_kdsweep_names_its_words() -> None:
    page = CliRunner().invoke(app, ["--help"]).output
    assert "train" in page
    assert "sync" in page
    assert "weights" in page


def sync(*words: object) -> Result:
    return CliRunner().invoke(app, ["sync", *map(str, words)])


def runs_of(store: MLflowStore) -> dict[str, list[Run]]:
    """The runs of an experiment, by role."""
    found: dict[str, list[Run]] = {}
    for run in store.client.search_runs([store.experiment_id]):
        found.setdefault(run.data.tags["kdsweep.role"], []).append(run)
    return found


def assert_whole(store: MLflowStore) -> None:
    """The store holds one sweep of T=1,4, nested and ended."""
    found = runs_of(store)
    (parent,) = found["sweep"]
    assert sorted(run.info.run_name for run in found["run"]) == [
        "kl T=1 alpha=0.5 seed=0",
        "kl T=4 alpha=0.5 seed=0",
    ]
    assert {run.data.tags["mlflow.parentRunId"] for run in found["run"]} == {parent.info.run_id}
    assert all("test/acc" in run.data.metrics for run in found["run"])
    assert {run.info.status for run in [parent, *found["run"]]} == {"FINISHED"}
    assert parent.info.start_time <= min(run.info.start_time for run in found["run"])
    assert parent.info.end_time == max(run.info.end_time for run in found["run"])
    artifacts = {item.path for item in store.client.list_artifacts(parent.info.run_id)}
    own = {"sweep.json", "results.csv", "heatmap.png", "answers"}
    assert artifacts - {"samples.png"} == own


@pytest.mark.slow
def test_kdsweep_sync_uploads_a_sweep_that_was_trained_without_a_store(
    command: Command, fresh_database: Path
) -> None:
    trained = command("T=1,4", "tracking.plots=sweep")
    (trained.folder / "elsewhere").mkdir()
    shutil.copy(fresh_database, trained.folder / "elsewhere" / "mlflow.db")
    words = [trained.sweep, "--uri", "sqlite:///elsewhere/mlflow.db", "--experiment", "late"]
    words += ["--artifacts", "elsewhere/files"]
    uploaded = sync(*words)
    assert uploaded.exit_code == 0, uploaded.output
    assert "uploaded 6 rows" in uploaded.output
    assert "kl T=1 alpha=0.5 seed=0" in uploaded.output
    store = MLflowStore.open("sqlite:///elsewhere/mlflow.db", "late", "elsewhere/files")
    assert_whole(store)
    (parent,) = runs_of(store)["sweep"]
    files = trained.folder / "elsewhere" / "files" / parent.info.run_id / "artifacts"
    results = (files / "results.csv").read_text()
    assert all(run.info.run_id in results for run in runs_of(store)["run"])
    again = sync(*words)
    assert "uploaded 0 rows" in again.output
    assert_whole(store)
    assert not (trained.folder / "mlflow.db").exists()


@pytest.fixture
def offline(
    trained: Command, fresh_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Outcome:
    """A sweep of T=1,4 that was trained without a store, in a folder that has one by now."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(fresh_database, tmp_path / "mlflow.db")
    return copy_of(trained("T=1,4", "tracking.plots=sweep"), tmp_path)


@pytest.mark.slow
def test_a_run_that_is_synced_alone_is_nested_too(offline: Outcome) -> None:
    assert sync(offline.sweep / "1", "--uri", "sqlite:///mlflow.db").exit_code == 0
    store = MLflowStore.open("sqlite:///mlflow.db", "kdsweep")
    (parent,), (run,) = runs_of(store)["sweep"], runs_of(store)["run"]
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert sync(offline.sweep, "--uri", "sqlite:///mlflow.db").exit_code == 0
    assert_whole(store)


@pytest.mark.slow
def test_the_runs_of_a_search_stay_under_their_trial(offline: Outcome) -> None:
    store = MLflowStore.open("sqlite:///mlflow.db", "kdsweep")
    trial = store.create_run(
        name="trial", parent_id=None, tags={"kdsweep.role": "trial"}, params={}
    )
    for number, parent in enumerate([trial, "0" * 32]):
        (offline.sweep / str(number)).rename(offline.sweep / "moved")
        (offline.sweep / str(number)).mkdir()
        run = (offline.sweep / "moved").rename(offline.sweep / str(number) / "seed-0") / "run.json"
        write_json_atomic(run, read_json(run) | {"parent_run_id": parent})
    before = (offline.sweep / "results.csv").read_text()
    assert sync(offline.sweep, "--uri", "sqlite:///mlflow.db").exit_code == 0
    found = runs_of(store)
    (search,) = found["sweep"]
    parents = {run.info.run_name: run.data.tags["mlflow.parentRunId"] for run in found["run"]}
    assert parents == {
        "kl T=1 alpha=0.5 seed=0": trial,
        "kl T=4 alpha=0.5 seed=0": search.info.run_id,
    }
    assert search.info.status == "FINISHED"
    after = (offline.sweep / "results.csv").read_text()
    assert after != before
    assert all(run.info.run_id in after for run in found["run"])


@pytest.mark.slow
def test_kdsweep_sync_finds_the_store_of_a_sweep_from_any_folder(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = command("T=1,4", "tracking.plots=sweep", tracking=True)
    store = MLflowStore.open("sqlite:///mlflow.db", "kdsweep", cwd=tmp_path)
    for run in [run for runs in runs_of(store).values() for run in runs]:
        store.client.delete_run(run.info.run_id)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert sync(trained.sweep).exit_code == 0
    assert_whole(store)
    assert list((tmp_path / "other").iterdir()) == []


@pytest.mark.ci
def test_kdsweep_sync_leaves_the_parent_of_a_sweep_that_is_being_trained_open(
    command: Command, fresh_database: Path
) -> None:
    trained = command("T=1,4", tracking=True)
    note = trained.sweep / "sweep.json"
    store = MLflowStore.open("sqlite:///mlflow.db", "kdsweep")
    (parent,) = runs_of(store)["sweep"]
    store.reopen(parent.info.run_id)
    write_json_atomic(note, read_json(note) | {"ended": False, "host": "another"})
    assert sync(trained.sweep).exit_code == 0
    assert store.client.get_run(parent.info.run_id).info.status == "RUNNING"


def test_kdsweep_sync_requires_a_store_where_there_was_none(offline: Outcome) -> None:
    (offline.folder / "mlflow.db").unlink()
    refused = sync(offline.sweep)
    assert refused.exit_code == 1
    assert "--uri must name a store to upload to" in refused.output
    assert not (offline.folder / "mlflow.db").exists()


def test_kdsweep_sync_refuses_a_folder_without_runs(tmp_path: Path) -> None:
    refused = sync(tmp_path)
    assert refused.exit_code == 1
    assert "FOLDER must be the folder of a run or a sweep" in refused.output
