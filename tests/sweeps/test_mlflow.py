"""What a sweep leaves in a real MLflow store, and how it is resumed after an interruption."""

from pathlib import Path

import pytest
from commands import Command, Outcome
from mlflow import MlflowClient
from outcomes import interrupt, runs


def test_a_sweep_is_one_parent_with_its_runs_and_one_teacher(
    command: Command, own_teachers: str
) -> None:
    outcome = command("T=1,4", "tracking.plots=sweep", own_teachers, tracking=True)
    assert outcome.code == 0, outcome.err
    found = runs(outcome)
    (parent,), (teacher,) = found["sweep"], found["teacher"]
    assert {run.data.tags["mlflow.parentRunId"] for run in found["run"]} == {parent.info.run_id}
    assert {run.info.run_name for run in found["run"]} == {
        "kl T=1 alpha=0.5 seed=0",
        "kl T=4 alpha=0.5 seed=0",
    }
    assert {r.info.status for r in [parent, teacher, *found["run"]]} == {"FINISHED"}
    run = found["run"][0]
    assert {"T", "alpha", "seed", "loss", "student", "teacher", "weight.kl"} <= set(run.data.params)
    wanted = {"train/kl", "val/acc", "val/agreement", "lr", "test/acc", "test/ece", "grad_ratio/kl"}
    assert wanted <= set(run.data.metrics)
    assert run.inputs.dataset_inputs[0].dataset.name == "fake"
    client = MlflowClient(tracking_uri=f"sqlite:///{outcome.folder}/mlflow.db")
    names = {item.path for item in client.list_artifacts(parent.info.run_id)}
    assert names == {"answers", "sweep.json", "results.csv", "samples.png", "heatmap.png"}
    assert {item.path for item in client.list_artifacts(run.info.run_id)} >= {
        "checkpoint",
        "config",
        "result.json",
    }


@pytest.mark.ci
def test_a_single_run_has_no_parent(command: Command) -> None:
    outcome = command("loss=ce", tracking=True)
    assert set(runs(outcome)) == {"run"}


def models(outcome: Outcome) -> dict[str, str]:
    """The state of each model in the store, by the run that it is of."""
    client = MlflowClient(tracking_uri=f"sqlite:///{outcome.folder}/mlflow.db")
    experiments = [one.experiment_id for one in client.search_experiments()]
    return {m.source_run_id: m.status for m in client.search_logged_models(experiments)}


@pytest.mark.slow
def test_every_finished_run_and_its_teacher_have_a_model(
    command: Command, own_teachers: str
) -> None:
    outcome = command("T=1,4", own_teachers, tracking=True)
    assert outcome.code == 0, outcome.err
    found = runs(outcome)
    trained = [run.info.run_id for run in (*found["run"], *found["teacher"])]
    assert models(outcome) == dict.fromkeys(trained, "READY")


@pytest.mark.slow
def test_models_can_be_switched_off(command: Command) -> None:
    outcome = command("loss=ce", "tracking.models=false", tracking=True)
    assert outcome.code == 0, outcome.err
    assert len(runs(outcome)["run"]) == 1
    assert models(outcome) == {}


@pytest.mark.slow
@pytest.mark.parametrize(("cells", "swept"), [(1, "T=4"), (2, "T=1,4")])
def test_ctrl_c_ends_open_runs_as_killed_and_resume_finishes_them(
    command: Command, monkeypatch: pytest.MonkeyPatch, cells: int, swept: str
) -> None:
    words = [swept, "seed=0,1", "trainer.epochs=3", "tracking.checkpoint_seconds=0"]
    whole = {row["name"]: row["weights_sha256"] for row in command(*words).rows}
    with monkeypatch.context() as patch:
        interrupt(patch, epoch=2, seed=1)
        stopped = command(*words, tracking=True)
    assert stopped.code == 130
    assert "resume=true resumes" in stopped.err
    statuses = ["FINISHED"] * cells + ["KILLED"] * cells
    assert sorted(row["status"] for row in stopped.rows) == statuses
    assert sorted(run.info.status for run in runs(stopped)["run"]) == statuses
    before = {run.info.run_id for run in runs(stopped)["run"]}
    resumed = command(*words, "resume=true", tracking=True)
    assert resumed.code == 0, resumed.err
    assert f"resume: continues in {stopped.sweep.relative_to(stopped.folder)}" in resumed.err
    assert "kl T=4 alpha=0.5" in resumed.out, "the table is missing"
    assert resumed.sweep == stopped.sweep
    assert {row["name"]: row["weights_sha256"] for row in resumed.rows} == whole
    found = runs(resumed)
    assert {run.info.run_id for run in found["run"]} == before
    assert {run.info.status for run in [*found["run"], *found["sweep"]]} == {"FINISHED"}
    client = MlflowClient(tracking_uri=f"sqlite:///{resumed.folder}/mlflow.db")
    for run_id in before:
        steps = [point.step for point in client.get_metric_history(run_id, "val/acc")]
        assert steps == [0, 1, 2]


@pytest.mark.slow
def test_the_stock_optuna_sweeper_is_one_parent_of_its_runs(
    command: Command, tmp_path: Path
) -> None:
    stock = ["hydra/sweeper=optuna", "hydra.sweeper.direction=maximize", "hydra.sweeper.n_jobs=2"]
    outcome = command(
        *stock,
        "T=interval(1.0,16.0)",
        "hydra.sweeper.n_trials=4",
        "hydra.sweeper.storage=sqlite:///stock.db",
        "hydra.sweeper.study_name=stock",
        tracking=True,
    )
    assert outcome.code == 0, outcome.err
    found = runs(outcome)
    assert len(found["search"]) == 1
    assert len(found["run"]) == len({row["fingerprint"] for row in outcome.rows}) == 4
    assert (tmp_path / "stock.db").is_file()
    assert (outcome.sweep / "optimization_results.yaml").is_file()
    assert all(1 <= row["T"] <= 16 for row in outcome.rows)


@pytest.mark.slow
def test_a_stock_launcher_too_ends_with_a_finished_parent_and_results(command: Command) -> None:
    outcome = command("T=1,4", "hydra/launcher=basic", tracking=True)
    assert outcome.code == 0, outcome.err
    found = runs(outcome)
    (parent,) = found["sweep"]
    assert parent.info.status == "FINISHED"
    assert {run.data.tags["mlflow.parentRunId"] for run in found["run"]} == {parent.info.run_id}
    client = MlflowClient(tracking_uri=f"sqlite:///{outcome.folder}/mlflow.db")
    assert "results.csv" in {item.path for item in client.list_artifacts(parent.info.run_id)}
