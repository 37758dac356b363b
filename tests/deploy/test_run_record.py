"""What is made of a run's classifier is kept with the run."""

import json
import shutil
from pathlib import Path

import pytest
from commands import Compose
from small_classifiers import MLP, classifier_of_run, small_classifier, small_manifest

from kdsweep.deploy.classifier import Classifier
from kdsweep.deploy.run_record import deploy_folder, record
from kdsweep.report.sources.address import Address
from kdsweep.tracking.mlflow.store import MLflowStore


@pytest.fixture
def of_run(tmp_path: Path, compose: Compose, monkeypatch: pytest.MonkeyPatch) -> Classifier:
    monkeypatch.chdir(tmp_path)
    return classifier_of_run(Path("0"), compose("dataset=fake"), small_manifest(MLP))


def note(run_id: str) -> None:
    Path("0/run.json").write_text(json.dumps({"params": {}, "mlflow_run_id": run_id}))


def test_files_go_next_to_the_run(of_run: Classifier, tmp_path: Path) -> None:
    assert deploy_folder(of_run) == Path("0/deploy")
    assert deploy_folder(small_classifier(tmp_path / "elsewhere" / "bundle")) == Path()


def test_facts_metrics_and_files_are_logged_to_the_run_in_mlflow(
    of_run: Classifier, fresh_database: Path, tmp_path: Path
) -> None:
    shutil.copy(fresh_database, "mlflow.db")
    store = MLflowStore.open("sqlite:///mlflow.db", "kdsweep")
    run_id = store.create_run(name="kl", parent_id=None, tags={}, params={})
    store.finish(run_id, "FINISHED")
    note(run_id)
    file = tmp_path / "model.onnx"
    file.write_bytes(b"onnx")
    for _ in range(2):  # a repetition adds nothing
        outcome = record(of_run, "export", {"opset": 20}, {"onnx/acc": 0.5, "onnx/x": None}, [file])
        assert outcome == f"logged to the run {run_id} in MLflow"
    run = store.client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"deploy/onnx/acc": 0.5}
    (entry,) = store.client.get_metric_history(run_id, "deploy/onnx/acc")
    assert entry.step == 2  # the last epoch
    names = {item.path for item in store.client.list_artifacts(run_id, "deploy")}
    assert names == {"deploy/export.json", "deploy/model.onnx"}
    assert json.loads(Path("0/deploy/export.json").read_text()) == {"opset": 20}


def test_a_named_store_is_recorded_in(of_run: Classifier, fresh_database: Path) -> None:
    """The run's own, mlflow.db, does not exist here."""
    shutil.copy(fresh_database, "other.db")
    named = Address("sqlite:///other.db")
    store = MLflowStore.open(named.uri, "kdsweep")
    note("0" * 32)
    outcome = record(of_run, "export", {}, {"x": 1.0}, [], named)
    assert outcome.startswith("recorded in 0/deploy/export.json; the MLflow store sqlite:///")
    assert outcome.endswith(f"other.db has no run {'0' * 32}")
    run_id = store.create_run(name="kl", parent_id=None, tags={}, params={})
    note(run_id)
    assert record(of_run, "export", {}, {"x": 1.0}, [], named).startswith("logged to the run")
    assert store.client.get_run(run_id).data.metrics == {"deploy/x": 1.0}
    assert not Path("mlflow.db").exists()


def test_without_mlflow_the_facts_are_in_the_folder(of_run: Classifier) -> None:
    outcome = record(of_run, "export", {"opset": 20}, {}, [])
    assert outcome == "recorded in 0/deploy/export.json; the run is not in MLflow"
    assert Path("0/deploy/export.json").is_file()


def test_an_error_of_mlflow_does_not_undo_what_was_made(of_run: Classifier) -> None:
    note("0" * 32)
    outcome = record(of_run, "export", {"opset": 20}, {}, [])
    assert outcome.startswith("recorded in 0/deploy/export.json; MLflow lacks it: ")
    assert not Path("mlflow.db").exists()


def test_a_bundle_outside_of_a_run_has_no_record(tmp_path: Path) -> None:
    classifier = small_classifier(tmp_path / "bundle", small_manifest(MLP))
    outcome = record(classifier, "export", {}, {}, [])
    assert outcome == "not logged: SOURCE is no run whose folder is here"


def test_a_run_on_another_drive_is_named_in_full(
    of_run: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `os.path.relpath` does it on Windows."""

    def refuse(path: object) -> str:
        raise ValueError(f"path is on mount 'D:', start on mount 'C:': {path}")

    monkeypatch.setattr("os.path.relpath", refuse)
    assert deploy_folder(of_run) == tmp_path / "0/deploy"
    assert str(tmp_path / "0/deploy/export.json") in record(of_run, "export", {}, {}, [])
