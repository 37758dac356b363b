"""A bundle is read back as it was written; nothing in it is executed."""

import json
import pickle
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from bundles import MLP, RGB, manifest, written

from kdsweep.common.files import read_json, write_json_atomic
from kdsweep.deploy.bundle import read_bundle, write_bundle
from kdsweep.errors import UserError

IMAGES = [torch.full((3, 6, 8), value) for value in (0.0, 0.5, 1.0)]


def changed(bundle: Path, **values: object) -> None:
    write_json_atomic(
        bundle / "classifier.json", {**read_json(bundle / "classifier.json"), **values}
    )


def refused(bundle: Path) -> str:
    with pytest.raises(UserError, match=r"^SOURCE must") as caught:
        read_bundle(bundle)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_it_is_read_back_as_it_was_written(bundle: Path, tmp_path: Path) -> None:
    first = read_bundle(bundle)
    again = read_bundle(write_bundle(tmp_path / "copy", first.module, first.manifest))
    assert again.manifest == first.manifest
    assert torch.equal(again.logits(IMAGES), first.logits(IMAGES))
    assert not first.module.training
    assert not any(parameter.requires_grad for parameter in first.module.parameters())


def test_it_records_the_run_that_it_is_of(tmp_path: Path) -> None:
    folder = written(tmp_path, run={"name": "kl T=4 seed=0", "metrics": {"test/acc": 0.5}})
    source = read_bundle(folder, source={"run_id": "abc"}).source
    assert source["folder"] == str(tmp_path)
    assert (source["name"], source["run_id"]) == ("kl T=4 seed=0", "abc")


class Malicious:
    def __reduce__(self) -> tuple:
        return (Path("hacked").touch, ())


def test_a_pickle_in_place_of_the_weights_is_refused(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (bundle / "model.safetensors").write_bytes(pickle.dumps(Malicious()))
    assert "is damaged" in refused(bundle)
    torch.save({"a": Malicious()}, bundle / "model.safetensors")
    assert "is damaged" in refused(bundle)
    assert not (tmp_path / "hacked").exists()


def test_missing_damaged_and_other_files_are_named(bundle: Path, tmp_path: Path) -> None:
    other = written(tmp_path / "other", seed=1)
    weights = (bundle / "model.safetensors").read_bytes()
    (bundle / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    assert "holds others" in refused(bundle)
    (bundle / "model.safetensors").write_bytes(weights[:-10])
    assert "is damaged" in refused(bundle)
    (bundle / "model.safetensors").unlink()
    assert f"got {bundle}/model.safetensors, which is missing" in refused(bundle)
    (bundle / "classifier.json").write_text("{")
    assert "classifier.json" in refused(bundle)
    (bundle / "classifier.json").unlink()
    assert "which cannot be read (No such file or directory)" in refused(bundle)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"format": 2}, "format must be 1, got 2"),
        ({"classes": ["cat"]}, "classes must be at least 2 names, got [cat]"),
        ({"preprocessing": {}}, "its content must be complete"),
        (
            {"model": {**MLP, "_target_": "os.system"}},
            "model._target_ must be kdsweep.models.*, got os.system",
        ),
        ({"model": {**MLP, "width": 9}, "weights_sha256": None}, "do not fit"),
        ({"teachers": [{"name": "vgg", "folder": 7}]}, "teachers must be mappings with a name"),
        ({"run": {"metrics": [0.5]}}, "run.metrics must be numbers by their names"),
        ({"run": {"metrics": {"test/acc": "0.5"}}}, "run.metrics must be numbers by their names"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(bundle: Path, values: dict, reason: str) -> None:
    changed(bundle, **values)
    assert reason in refused(bundle)


@pytest.mark.parametrize("key", manifest().to_json())
@pytest.mark.parametrize("value", [None, 7, "text", [], [{}], {}, {"mean": [1], "std": "x"}])
def test_a_value_of_another_type_is_refused_in_a_sentence(
    bundle: Path, key: str, value: object
) -> None:
    """Or it is one of those that are allowed."""
    changed(bundle, **{key: value})
    with suppress(UserError):
        read_bundle(bundle).predict(IMAGES[0])
        return
    refused(bundle)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("image_size", [6, "8"]),
        ("image_size", [6, 0]),
        ("mean", [0.5, 0.5, "x"]),
        ("std", [0.5, 0.5, 0.0]),
        ("std", None),
        ("crop", "no"),
        ("white", -1),
        ("more", 1),
    ],
)
def test_a_preprocessing_that_cannot_be_computed_is_refused(
    bundle: Path, key: str, value: object
) -> None:
    changed(bundle, preprocessing={**RGB.to_json(), key: value})
    assert key in refused(bundle)


def test_the_manifest_is_plain_json(bundle: Path) -> None:
    content = json.loads((bundle / "classifier.json").read_text())
    assert content["format"] == 1
    assert content["classes"] == ["cat", "dog"]
    assert manifest().to_json() == {**content, "weights_sha256": None}
