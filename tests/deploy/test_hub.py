"""A classifier as a repository of the Hugging Face Hub."""

from pathlib import Path

import numpy as np
import pytest
import torch
from bundles import written
from huggingface_hub import ModelCard

import kdsweep
from kdsweep.common.files import read_json
from kdsweep.deploy.bundle import read_bundle
from kdsweep.deploy.hub import PretrainedClassifier, push
from kdsweep.errors import UserError

RUN = {"name": "kl seed=0", "cell": "kl", "student": "mlp", "dataset": "pets", "seed": 0}
TEACHERS = ({"name": "vgg13", "fingerprint": "f00d", "folder": "/home/me/teachers/f00d"},)
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 6, 8, 3), dtype=np.uint8)


@pytest.fixture
def pushed(tmp_path: Path) -> Path:
    metrics = {"test/acc": 0.75}
    folder = written(tmp_path / "made", run={**RUN, "metrics": metrics}, teachers=TEACHERS)
    return push(read_bundle(folder), tmp_path / "repository")


def test_a_pushed_model_is_loaded_from_its_folder(pushed: Path, tmp_path: Path) -> None:
    expected = read_bundle(tmp_path / "made").logits(IMAGES)
    loaded = kdsweep.Classifier.from_pretrained(pushed)
    assert torch.equal(loaded.logits(IMAGES), expected)
    assert torch.equal(kdsweep.load(pushed).logits(IMAGES), expected)
    again = PretrainedClassifier.from_pretrained(str(pushed))
    pixels = again.classifier.preprocessing(IMAGES[0])[None]
    torch.testing.assert_close(again(pixels), expected[:1])
    again.save_pretrained(tmp_path / "copy")
    for name in ("model.safetensors", "classifier.json", "config.json"):
        assert (tmp_path / "copy" / name).read_bytes() == (pushed / name).read_bytes()


def test_a_damaged_repository_is_refused_in_a_sentence(pushed: Path) -> None:
    (pushed / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"^the repository must have a config\.json in JSON, got"):
        kdsweep.Classifier.from_pretrained(pushed)
    (pushed / "config.json").unlink()
    (pushed / "classifier.json").write_text("{")
    with pytest.raises(UserError, match=r"^SOURCE must have a classifier\.json"):
        kdsweep.Classifier.from_pretrained(pushed)


def test_its_files_are_those_of_the_hub(pushed: Path) -> None:
    names = {path.name for path in pushed.iterdir()}
    assert names == {"README.md", "classifier.json", "config.json", "model.safetensors"}
    config = read_json(pushed / "config.json")
    assert config["id2label"] == {"0": "cat", "1": "dog"}
    assert config["architectures"] == ["MLP"]
    card = ModelCard.load(pushed / "README.md")
    assert card.data.library_name == "kdsweep"
    assert card.data.pipeline_tag == "image-classification"
    assert "# mlp" in card.text
    assert "75.00" in card.text
    assert "Classifier.from_pretrained" in card.text


def test_no_path_of_this_machine_is_published(pushed: Path) -> None:
    assert all(b"/home/me" not in path.read_bytes() for path in pushed.iterdir())
    (teacher,) = read_json(pushed / "classifier.json")["teachers"]
    assert teacher == {"name": "vgg13", "fingerprint": "f00d"}


def test_other_files_of_the_folder_are_kept_and_its_card_is_written_anew(
    pushed: Path, tmp_path: Path
) -> None:
    (pushed / ".gitattributes").write_text("mine")
    (pushed / "README.md").write_text("old")
    push(read_bundle(tmp_path / "made"), pushed)
    assert (pushed / ".gitattributes").read_text() == "mine"
    assert "# mlp" in (pushed / "README.md").read_text()


def test_a_file_is_no_folder(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"DIR must be a folder, got .*file, a file"):
        push(read_bundle(bundle), tmp_path / "file")
