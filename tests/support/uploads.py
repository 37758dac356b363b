"""What MLflow must have of a folder: every row of every run once, in the right state and place."""

from pathlib import Path

from mlflow import MlflowClient

from kdsweep.common.files import read_json
from kdsweep.tracking.run_dir import read_rows

AT_THE_END = ("epochs", "seconds", "val/acc_best")  # of a result, logged with its last epoch


def sweep_of(folder: Path) -> Path:
    """The folder of the only sweep below a folder."""
    (note,) = folder.glob("multirun/**/sweep.json")
    return note.parent


def uploaded(folder: Path, client: MlflowClient) -> set[str]:
    """The ids of all runs of a folder with one sweep that has ended, once MLflow has them whole."""
    sweep = sweep_of(folder)
    parent = read_json(sweep / "sweep.json")["parent_run_id"]
    trials = {read_json(path)["mlflow_run_id"] for path in sweep.glob("*/trial.json")}
    notes = [*sweep.rglob("run.json"), *folder.glob("teachers/*/run.json")]
    assert notes
    ids = {assert_whole(note.parent, client) for note in notes} | trials | {parent}
    assert len(ids) == len(notes) + len(trials) + 1
    for run in map(client.get_run, ids):
        assert run.info.status == "FINISHED", run.info.run_name
        if run.data.tags["kdsweep.role"] == "run":
            assert run.data.tags["mlflow.parentRunId"] in (trials or {parent})
    assert "results.csv" in {item.path for item in client.list_artifacts(parent)}
    return ids


def assert_whole(folder: Path, client: MlflowClient) -> str:
    """MLflow has a run's result, its files, and each value of its rows once; returns its id."""
    run_id = str(read_json(folder / "run.json")["mlflow_run_id"])
    run, result = client.get_run(run_id), read_json(folder / "result.json")
    assert run.info.status == result["status"] == "FINISHED", folder
    assert result["mlflow_run_id"] == run_id
    wanted = [
        (key, row["epoch"], value)
        for row in read_rows(folder)
        for key, value in row["metrics"].items()
    ]
    assert wanted, folder
    wanted += [(key, result["epochs"] - 1, result[key]) for key in AT_THE_END]
    found = [
        (key, point.step, point.value)
        for key in run.data.metrics
        for point in client.get_metric_history(run_id, key)
    ]
    assert sorted(found) == sorted(wanted), folder
    files = {item.path for item in client.list_artifacts(run_id)}
    assert {"result.json", "checkpoint", "config"} <= files
    return run_id
