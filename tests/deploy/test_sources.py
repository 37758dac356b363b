"""A run is loaded by every word that names it, without its data set and its teacher."""

import shutil
from pathlib import Path

import pytest
import torch
from bundles import written
from commands import Command, Outcome, copy_of

import kdsweep
from kdsweep.builders.device import resolve_device
from kdsweep.common.files import read_json, write_json_atomic
from kdsweep.data.fake import Fake
from kdsweep.deploy.classifier import Classifier
from kdsweep.deploy.evaluation_images import dataset_of_run
from kdsweep.deploy.sources import find_bundle
from kdsweep.deploy.teachers import teacher_of
from kdsweep.errors import UserError
from kdsweep.tracking.mlflow.store import MLflowStore
from kdsweep.tracking.predictions import load_predictions

WORDS = ("T=1,4",)


def no_store() -> MLflowStore:
    raise AssertionError("no store is needed")


@pytest.fixture
def sweep(trained: Command, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    """A sweep of two runs, in whose folder the test is; it changes nothing there."""
    outcome = trained(*WORDS)
    monkeypatch.chdir(outcome.folder)
    return outcome


@pytest.fixture
def own_sweep(trained: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    """A copy that the test may change."""
    outcome = copy_of(trained(*WORDS), tmp_path)
    monkeypatch.chdir(tmp_path)
    return outcome


def as_evaluated(classifier: Classifier, recorded: Path) -> None:
    """The probabilities of all test images are those of a file of predictions."""
    images = Fake(num_train=160, num_test=40, shape=(1, 8, 8)).load().test
    assert images is not None
    expected = torch.tensor(load_predictions(recorded).logits["test"]).softmax(1)
    found = classifier.predict(images.images)
    assert (found.probabilities - expected).abs().max() < 1e-5
    assert classifier.classes == [f"class {number}" for number in range(10)]


def refused(word: str) -> str:
    with pytest.raises(UserError, match=r"^SOURCE must") as caught:
        kdsweep.load(word)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_run_predicts_as_it_was_evaluated(sweep: Outcome) -> None:
    for number in ("0", "1"):
        folder = sweep.sweep / number
        classifier = kdsweep.load(folder)
        as_evaluated(classifier, folder / "answers.safetensors")
        result = read_json(folder / "result.json")
        assert classifier.source["fingerprint"] == result["fingerprint"]
        assert classifier.source["name"] == result["name"]
        assert classifier.source["metrics"]["test/acc"] == result["test/acc"]
        assert classifier.manifest.weights_sha256 == result["weights_sha256"]
        assert "latency_ms" not in classifier.source["metrics"]


def test_every_word_that_names_a_run_names_its_model(sweep: Outcome) -> None:
    best = max(sweep.rows, key=lambda row: (row["val/acc"], -row["val/loss"]))
    folder = sweep.sweep / str(best["run"]) / "checkpoint"
    fingerprint = read_json(folder.parent / "run.json")["fingerprint"]
    words = (
        "best",
        f"{sweep.sweep}/best",
        str(folder.parent),
        str(folder),
        str(folder / "model.safetensors"),
        str(folder / "classifier.json"),
        fingerprint,
    )
    for word in words:
        assert find_bundle(word, no_store).resolve() == folder.resolve(), word


def test_the_teacher_is_loaded_like_a_run(sweep: Outcome) -> None:
    student = kdsweep.load(sweep.sweep / "0")
    teacher = teacher_of(student, no_store)
    assert teacher.source["role"] == "teacher"
    (recorded,) = (sweep.sweep / "answers").iterdir()
    as_evaluated(teacher, recorded)
    again = kdsweep.load(Path(teacher.source["folder"]).parent)
    assert again.manifest == teacher.manifest
    with pytest.raises(UserError, match=r"^SOURCE must be a run with a teacher for --teacher"):
        teacher_of(teacher, no_store)


def test_a_copy_of_two_files_is_enough(
    sweep: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(sweep.sweep / "1" / "checkpoint", tmp_path / "elsewhere" / "checkpoint")
    recorded = (sweep.sweep / "1" / "answers.safetensors").absolute()
    monkeypatch.chdir(tmp_path)
    for word in ("elsewhere", "elsewhere/checkpoint"):
        as_evaluated(kdsweep.load(word), recorded)


def test_a_run_of_an_earlier_version_is_completed_from_its_config(own_sweep: Outcome) -> None:
    folder = own_sweep.sweep / "0"
    file = folder / "checkpoint" / "classifier.json"
    content = read_json(file)
    file.unlink()
    as_evaluated(kdsweep.load(folder), folder / "answers.safetensors")
    written_again = read_json(file)
    assert written_again.pop("teachers") == []
    assert written_again == {k: v for k, v in content.items() if k != "teachers"}


def test_a_run_of_an_earlier_version_without_its_data_set_is_refused(own_sweep: Outcome) -> None:
    folder = own_sweep.sweep / "0"
    (folder / "checkpoint" / "classifier.json").unlink()
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(
        config.replace("kdsweep.data.fake.Fake", "kdsweep.data.image_folder.ImageFolder")
    )
    assert "or the data set of its config.yaml" in refused(str(folder))
    (folder / "config.yaml").unlink()
    assert "which has neither" in refused(str(folder))


def test_a_run_that_has_not_finished_is_refused(own_sweep: Outcome) -> None:
    result = own_sweep.sweep / "0" / "result.json"
    write_json_atomic(result, {**read_json(result), "status": "KILLED"})
    assert "which is KILLED" in refused(str(own_sweep.sweep / "0"))


def test_an_equal_run_is_loaded_from_where_it_was_trained(own_sweep: Outcome) -> None:
    result = own_sweep.sweep / "1" / "result.json"
    write_json_atomic(result, {**read_json(result), "same_as": "0"})
    found = find_bundle(str(own_sweep.sweep / "1"), no_store)
    assert found == own_sweep.sweep / "0" / "checkpoint"


def test_other_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("model.pt", "last.ckpt"):
        Path(name).write_bytes(b"\x80\x04")
        assert f"got {name}; pickles are never loaded" in refused(name)
    Path("model.onnx").touch()
    assert refused("model.onnx").endswith("next to it, got model.onnx")
    written(tmp_path / "bundle")
    shutil.copy("bundle/model.safetensors", "other.safetensors")
    assert "must be a model.safetensors with a classifier.json" in refused("other.safetensors")
    assert "got nothing-of-this-name" in refused("nothing-of-this-name")
    assert "got best, and multirun holds no sweep" in refused("best")


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_the_network_is_on_the_device_and_its_logits_on_the_cpu(bundle: Path, device: str) -> None:
    classifier = kdsweep.load(bundle, device=device)
    assert classifier.device == torch.device(resolve_device(device))
    assert {weight.device.type for weight in classifier.module.parameters()} == {
        classifier.device.type
    }
    logits = classifier.logits(torch.zeros(2, 3, 6, 8))
    assert (logits.device.type, logits.dtype) == ("cpu", torch.float32)


@pytest.mark.parametrize("device", ["abacus", "meta"])
def test_a_device_that_cannot_compute_is_refused(bundle: Path, device: str) -> None:
    with pytest.raises(UserError, match=rf"^--device must be auto, cpu or .* got {device}"):
        kdsweep.load(bundle, device=device)


OF_EVERY_KIND = {
    "bf16": ["student=cnn", "trainer.precision=bf16", "trainer.memory_format=channels_last"],
    "channels_last": ["student=cnn", "trainer.memory_format=channels_last"],
    "peers": ["student=cnn", "teacher=peers"],
    "online teacher": ["student=cnn", "teacher.online=true"],
    "stage": ["stages=hints", "stages.hints.epochs=1", "student=cnn"],
    "distilled vit": ["student=vit_tiny_distilled", "student.model.width=12"],
    "two classes": ["dataset.source.num_classes=2"],
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", OF_EVERY_KIND)
def test_runs_of_every_kind_predict_as_they_were_evaluated(trained: Command, kind: str) -> None:
    outcome = trained(*OF_EVERY_KIND[kind], "trainer.threads=1")
    assert outcome.code == 0, outcome.err
    for recorded in outcome.sweep.glob("**/answers.safetensors"):
        classifier = kdsweep.load(recorded.parent)
        images = dataset_of_run(classifier, recorded.parent).test.images
        expected = torch.tensor(load_predictions(recorded).logits["test"]).softmax(1)
        found = classifier.predict(images, batch_size=256)
        assert (found.probabilities - expected).abs().max() < 1e-5, recorded
