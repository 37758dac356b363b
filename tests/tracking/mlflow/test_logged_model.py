"""The LoggedModel of a finished run: whole, once, and without pickle."""

import json
import os
import re
from collections import Counter
from pathlib import Path
from time import sleep
from typing import Any

import pytest
import yaml
from mlflow.entities import LoggedModel

from kdsweep.common.files import read_json, write_json_atomic
from kdsweep.tracking.mlflow import logged_model
from kdsweep.tracking.mlflow.logged_model import find_model, model_name
from kdsweep.tracking.mlflow.run_sync import sync
from kdsweep.tracking.mlflow.store import MLflowStore
from kdsweep.tracking.mlflow.upload_queue import UploadQueue
from kdsweep.tracking.recorder import Recorder, RunInfo
from kdsweep.tracking.result import RunResult

NAME = "kl T=4 alpha=0.5 seed=0"
CLASSIFIER = {
    "format": 1,
    "model": {"_target_": "kdsweep.models.mlp.MLP", "width": 4},
    "classes": ["cat", "dog"],
    "preprocessing": {"channels": 3, "image_size": [4, 5], "mean": [0.5] * 3, "std": [0.5] * 3},
    "weights_sha256": "f00d",
}
FILES = {
    "MLmodel",
    "classifier.json",
    "conda.yaml",
    "input_example.json",
    "model.safetensors",
    "python_env.yaml",
    "requirements.txt",
    "serving_input_example.json",
}
INFO: dict[str, Any] = {
    "name": NAME,
    "role": "run",
    "fingerprint": "f00d",
    "cell": "kl T=4 alpha=0.5",
    "seed": 0,
    "params": {"T": 4.0, "loss": "kl", "weight.kl": 0.5, "optimizer.lr": 0.1},
    "tags": {"kdsweep.role": "run", "kdsweep.cell": "kl T=4 alpha=0.5"},
    "dataset": {"name": "pets", "digest": "abc", "context": "training"},
}


def train(
    folder: Path,
    store: MLflowStore | None,
    *,
    weights: bytes = b"weights",
    uploads: UploadQueue | None = None,
    **changes: Any,
) -> Path:
    """A run of two epochs that has ended."""
    given = {"log_model": True, "status": "FINISHED", "classifier": CLASSIFIER, **changes}
    recorder = Recorder(folder, store=store, uploads=uploads)
    recorder.start(RunInfo(**INFO, log_model=given["log_model"]))
    for epoch in range(2):
        recorder.epoch(epoch, {"val/acc": 0.4 + epoch / 10, "train/loss": 1.0})
    recorder.epoch(1, {"test/acc": 0.5})
    (folder / "checkpoint").mkdir(exist_ok=True)
    (folder / "checkpoint/model.safetensors").write_bytes(weights)
    if given["classifier"]:
        write_json_atomic(folder / "checkpoint/classifier.json", given["classifier"])
    result = {"status": given["status"], "name": NAME, "fingerprint": "f00d", "epochs": 2}
    recorder.finish(RunResult.from_json(result))
    return folder


def models(store: MLflowStore) -> list[LoggedModel]:
    return list(store.client.search_logged_models([store.experiment_id]))


def files_of(model: LoggedModel) -> Path:
    return Path(model.artifact_location.removeprefix("file://"))


def test_a_finished_run_has_a_model_with_its_figures(store: MLflowStore, tmp_path: Path) -> None:
    train(tmp_path / "0", store)
    (model,) = models(store)
    run_id = read_json(tmp_path / "0/run.json")["mlflow_run_id"]
    assert (model.name, model.status, model.model_type) == (model_name(NAME), "READY", "classifier")
    assert model.source_run_id == run_id
    assert model.params == {"T": "4.0", "loss": "kl", "weight.kl": "0.5"}
    wanted = {"kdsweep.fingerprint": "f00d", "kdsweep.role": "run", "kdsweep.cell": INFO["cell"]}
    assert wanted.items() <= model.tags.items()
    assert {(m.key, m.value, m.step) for m in model.metrics} == {
        ("val/acc", 0.5, 1),
        ("test/acc", 0.5, 1),
    }
    assert {(m.dataset_name, m.dataset_digest) for m in model.metrics} == {("pets", "abc")}
    run = store.client.get_run(run_id)
    assert [(one.model_id, one.step) for one in run.outputs.model_outputs] == [(model.model_id, 1)]
    for key, count in (("val/acc", 2), ("test/acc", 1)):  # the run has none of them twice
        assert len(store.client.get_metric_history(run_id, key)) == count


def test_its_files_name_a_loader_and_hold_no_pickle_and_no_code(
    store: MLflowStore, tmp_path: Path
) -> None:
    train(tmp_path / "0", store)
    (model,) = models(store)
    folder = files_of(model)
    assert {path.name for path in folder.iterdir()} == FILES
    assert json.loads((folder / "classifier.json").read_text()) == CLASSIFIER
    content = yaml.safe_load((folder / "MLmodel").read_text())
    loader = content["flavors"]["python_function"]
    assert loader["loader_module"] == "kdsweep.deploy.pyfunc"
    assert not {"code", "python_model", "model_code_path"} & loader.keys()
    assert (content["model_id"], content["run_id"]) == (model.model_id, model.source_run_id)
    assert [json.loads(content["signature"][key])[0]["name"] for key in ("inputs", "outputs")] == [
        "image",
        "class",
    ]
    pinned = (folder / "requirements.txt").read_text().split()
    assert all("==" in line and "+" not in line for line in pinned)
    assert {line.partition("==")[0] for line in pinned} >= {"kdsweep", "torch", "safetensors"}
    assert json.loads((folder / "serving_input_example.json").read_text()) == {
        "inputs": json.loads((folder / "input_example.json").read_text())
    }


def test_its_weights_take_no_room_of_their_own(store: MLflowStore, tmp_path: Path) -> None:
    train(tmp_path / "0", store)
    (model,) = models(store)
    run = store.client.get_run(model.source_run_id)
    logged = Path(run.info.artifact_uri.removeprefix("file://")) / "checkpoint/model.safetensors"
    assert os.path.samefile(files_of(model) / "model.safetensors", logged)
    assert not os.path.samefile(logged, tmp_path / "0/checkpoint/model.safetensors")


def test_artifacts_elsewhere_are_uploaded(
    store: MLflowStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logged_model, "local_folder", lambda location: None)
    train(tmp_path / "0", store)
    (model,) = models(store)
    assert {one.path for one in store.client.list_logged_model_artifacts(model.model_id)} == FILES
    assert (files_of(model) / "model.safetensors").read_bytes() == b"weights"


@pytest.mark.parametrize(
    "changes", [{"log_model": False}, {"status": "FAILED"}, {"classifier": None}]
)
def test_no_model_of_what_is_not_to_have_one(
    store: MLflowStore, tmp_path: Path, changes: dict[str, Any]
) -> None:
    train(tmp_path / "0", store, **changes)
    assert models(store) == []


@pytest.mark.ci
def test_sync_logs_the_model_of_a_run_without_mlflow_once(
    store: MLflowStore, tmp_path: Path
) -> None:
    folder = train(tmp_path / "0", None)
    for _ in range(2):
        sync(folder, store)
    (model,) = models(store)
    assert model.status == "READY"


@pytest.mark.parametrize("step", ["log", "_upload_files", "_link"])
def test_an_upload_that_was_interrupted_is_completed(
    store: MLflowStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def die(*_: object) -> None:
        raise OSError("away")

    with monkeypatch.context() as patch:
        patch.setattr(store if step == "log" else logged_model, step, die)
        folder = train(tmp_path / "0", store)
    # A model and the figures of its run are one commit.
    assert [model.status for model in models(store)] == ([] if step == "log" else ["PENDING"])
    assert not read_json(folder / "run.json").get("shipped")
    sync(folder, store)
    (model,) = models(store)
    assert model.status == "READY"
    assert len(model.metrics) == 2
    run = store.client.get_run(model.source_run_id)
    assert [one.model_id for one in run.outputs.model_outputs] == [model.model_id]


def test_a_run_that_is_trained_again_keeps_its_model_with_its_new_weights(
    store: MLflowStore, tmp_path: Path
) -> None:
    train(tmp_path / "0", store)
    again = {**CLASSIFIER, "weights_sha256": "beef"}
    train(tmp_path / "0", store, weights=b"other", classifier=again)
    (model,) = models(store)
    assert model.tags["kdsweep.weights_sha256"] == "beef"
    assert (files_of(model) / "model.safetensors").read_bytes() == b"other"
    assert json.loads((files_of(model) / "classifier.json").read_text()) == again


@pytest.mark.parametrize("model_later", [False, True])
def test_an_epoch_that_is_trained_again_is_logged_once(
    store: MLflowStore, tmp_path: Path, model_later: bool
) -> None:
    """Its time is another one, and what is measured anew: MLflow keeps only equal points once."""
    interrupted = Recorder(tmp_path / "0", store=store)
    interrupted.start(RunInfo(**INFO, log_model=True))
    interrupted.epoch(0, {"val/acc": 0.4, "train/loss": 1.0})
    interrupted.epoch(1, {"val/acc": 0.5, "train/loss": 1.0})
    interrupted.epoch(1, {"test/acc": 0.25})
    sleep(0.01)
    folder = train(tmp_path / "0", store, log_model=not model_later)
    run_id = read_json(folder / "run.json")["mlflow_run_id"]
    if model_later:
        logged_model.log_model(store, run_id, folder)
    for key, points in (("val/acc", [(0, 0.4), (1, 0.5)]), ("test/acc", [(1, 0.25)])):
        history = store.client.get_metric_history(run_id, key)
        assert [(point.step, point.value) for point in history] == points
    (model,) = models(store)
    figures = {(m.key, m.value, m.step) for m in model.metrics}
    assert figures == {("val/acc", 0.5, 1), ("test/acc", 0.25, 1)}


def test_names_that_mlflow_refuses_are_changed(store: MLflowStore) -> None:
    assert model_name("a/b:c.d%e\"f'g") == "a_b_c_d_e_f_g"
    assert find_model(store, "0" * 32, 'it\'s 50%: "a.b"') is None


@pytest.fixture
def requests(store: MLflowStore, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each request of the client is made."""
    counts: Counter[str] = Counter()
    pattern = "(create|get|search|log|set|fin)"
    for name in (name for name in dir(store.client) if re.match(pattern, name)):
        real = getattr(store.client, name)

        def call(*args: Any, _name: str = name, _real: Any = real, **named: Any) -> Any:
            counts[_name] += 1
            return _real(*args, **named)

        monkeypatch.setattr(store.client, name, call)
    return counts


def test_the_model_of_a_run_that_has_ended_takes_few_requests(
    store: MLflowStore, tmp_path: Path, requests: Counter[str]
) -> None:
    folder = train(tmp_path / "0", store, log_model=False)
    requests.clear()
    run_id = read_json(folder / "run.json")["mlflow_run_id"]
    logged_model.log_model(store, run_id, folder)
    assert requests == Counter(
        search_logged_models=1,
        create_logged_model=1,
        log_outputs=1,
        get_metric_history=2,  # the times of val/acc and test/acc
        log_batch=1,
        finalize_logged_model=1,
    )
    requests.clear()
    logged_model.log_model(store, run_id, folder)  # it is complete
    assert requests == Counter(search_logged_models=1)


def test_a_run_that_ends_before_its_first_upload_takes_three_requests_more_with_a_model(
    store: MLflowStore, tmp_path: Path, requests: Counter[str]
) -> None:
    """Its figures are logged once: MLflow rolls a batch back that has points of an earlier one."""
    uploads = UploadQueue()
    folder = train(tmp_path / "0", store, uploads=uploads)
    assert uploads.close(20)
    assert requests == Counter(
        create_run=1,
        log_inputs=1,
        create_logged_model=1,
        log_batch=1,
        log_outputs=1,
        finalize_logged_model=1,
        set_terminated=1,
    )
    (model,) = models(store)
    assert {(m.key, m.value, m.step) for m in model.metrics} == {
        ("val/acc", 0.5, 1),
        ("test/acc", 0.5, 1),
    }
    run = store.client.get_run(read_json(folder / "run.json")["mlflow_run_id"])
    for key, count in (("val/acc", 2), ("test/acc", 1), ("train/loss", 2)):
        assert len(store.client.get_metric_history(run.info.run_id, key)) == count
