"""`kdsweep quantize --qat`: a network trained further with the rounding of int8."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from commands import Command

from kdsweep.deploy.bundle import write_bundle
from kdsweep.deploy.card_facts import card_facts
from kdsweep.deploy.classifier import Classifier
from kdsweep.deploy.quantize.options import images_for, options_of
from kdsweep.deploy.quantize.quantize import quantize
from kdsweep.deploy.run_record import deploy_folder
from kdsweep.deploy.sources import load
from kdsweep.errors import UserError
from kdsweep.sweeps.qat import train as module
from kdsweep.sweeps.qat.spec import qat_spec, slower
from kdsweep.sweeps.qat.train import train_aware
from kdsweep.sweeps.rerun.original import read_original

WORDS = ("loss=kl", "T=4", "alpha=0.5", "student=cnn", "dataset=digits", "trainer.epochs=6")


@pytest.mark.parametrize(
    ("optimizer", "found"),
    [({"lr": 0.1, "momentum": 0.9}, {"lr": 0.01, "momentum": 0.9}), ({"x": 1}, {"x": 1})],
)
def test_it_learns_at_a_tenth_of_the_rate(optimizer: dict[str, Any], found: dict[str, Any]) -> None:
    assert slower(optimizer) == pytest.approx(found)


@pytest.fixture
def project(trained: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(trained(*WORDS).folder, tmp_path / "project", symlinks=True)
    monkeypatch.chdir(tmp_path / "project")
    (folder,) = Path().glob("multirun/*/*/0")
    return folder


def unbalanced(folder: Path) -> Classifier:
    """The run's network with two channels that are 100 times as large, undone by the next layer.

    Its logits are the same, and 8 bits are too few for the other channels.
    """
    classifier = load(str(folder))
    weights = classifier.module.state_dict()
    norm = next(name for name in weights if name.startswith("stage1") and weights[name].dim() == 1)
    stem = norm.rpartition(".")[0]
    following = next(n for n in weights if n.startswith("stage2") and weights[n].dim() == 4)
    weights[f"{stem}.weight"][:2] *= 100
    weights[f"{stem}.bias"][:2] *= 100
    weights[following][:, :2] /= 100
    classifier.module.load_state_dict(weights)
    write_bundle(folder / "checkpoint", classifier.module, classifier.manifest)
    result = json.loads((folder / "result.json").read_text())
    changed = load(str(folder / "checkpoint"))
    result["weights_sha256"] = changed.manifest.weights_sha256
    (folder / "result.json").write_text(json.dumps(result))
    return load(str(folder))


@pytest.mark.slow
def test_it_wins_back_at_least_half_of_what_static_int8_loses(project: Path) -> None:
    pytest.importorskip("onnx")
    classifier = unbalanced(project)
    options = options_of(["static"], "minmax")
    calibration, test = images_for(classifier, options, None, "test", 200)
    trained_further = train_aware(classifier, 8)
    assert (
        json.loads((Path(str(trained_further.source["folder"])).parent / "run.json").read_text())[
            "tags"
        ]["kdsweep.role"]
        == "qat"
    )
    assert trained_further.manifest.run["metrics"] == {}, "those are of the network with rounding"
    assert card_facts(Path(str(trained_further.source["folder"]))).with_rounding
    found = quantize(
        classifier, deploy_folder(classifier), options, calibration, test, trained_further
    )
    accuracy = {row.name: row.accuracy for row in found.rows}
    loss = accuracy["torch fp32"] - accuracy["int8 static"]
    assert loss > 0.01
    assert accuracy["torch fp32"] - accuracy["QAT int8 static"] <= loss / 2


@pytest.mark.slow
def test_static_int8_is_within_a_point_of_a_trained_network(project: Path) -> None:
    pytest.importorskip("onnx")
    classifier = load(str(project))
    options = options_of(["static"], "minmax")
    calibration, test = images_for(classifier, options, None, "test", 200)
    made = quantize(classifier, deploy_folder(classifier), options, calibration, test)
    accuracy = {row.name: row.accuracy for row in made.rows}
    assert accuracy["torch fp32"] == accuracy["ONNX fp32"] > 0.8
    assert accuracy["int8 static"] >= accuracy["torch fp32"] - 0.01


@pytest.mark.slow
def test_the_run_starts_from_the_weights_and_has_the_same_teacher(project: Path) -> None:
    original = read_original(project)
    spec = qat_spec(original, 3)
    assert spec.role == "qat"
    assert spec.config.trainer.epochs == 3
    assert spec.config.student.checkpoint == str(project / "checkpoint/model.safetensors")
    assert [one.run.fingerprint for one in spec.teachers] == [
        entry["fingerprint"] for entry in load(str(project)).manifest.teachers
    ]
    assert qat_spec(original, 3).fingerprint == spec.fingerprint != original.result.fingerprint
    original.config["trainer"]["devices"] = 2
    assert qat_spec(original, 3).config.trainer.devices == 1


@pytest.mark.slow
def test_a_run_that_has_finished_is_not_trained_again(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = load(str(project))
    first = train_aware(classifier, 1)
    monkeypatch.setattr(module, "train", lambda *a, **k: pytest.fail("it is trained again"))
    again = train_aware(classifier, 1)
    assert again.manifest.weights_sha256 == first.manifest.weights_sha256
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        train_aware(classifier, 2)  # another run


def test_a_bundle_outside_of_a_run_cannot_be_trained_further(tmp_path: Path) -> None:
    from small_classifiers import small_classifier

    with pytest.raises(UserError, match="--qat needs a run to train further"):
        train_aware(small_classifier(tmp_path / "bundle"), 1)
