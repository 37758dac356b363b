"""Folders of transformers in a config: the run keeps their content, and no path."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import TINY, Compose, overrides
from hf_folders import write_clip, write_dinov2, write_preprocessing, write_vit
from safetensors.torch import load_file, save_file

from kdsweep.builders.class_order import Task
from kdsweep.builders.models import load_start
from kdsweep.builders.starts import TRANSFORMERS, folder_file, with_description
from kdsweep.errors import UserError
from kdsweep.models.hf_model import HuggingFace
from kdsweep.runs.build_specs import build_specs
from kdsweep.runs.spec import RunSpec

IMAGES = ("dataset.source.shape=[3,32,32]", "dataset.source.num_classes=4")


@pytest.fixture
def spec(compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`spec("T=1")`: the spec of a run of these words, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def of(*words: str) -> RunSpec:
        words = (*words, *IMAGES)
        tiny = [word for word in TINY if not overrides(words, word) and "student" not in word]
        return build_specs([compose(*tiny, "tracking=none", *words)], [words], 0, [])[0]

    return of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_vit(tmp_path / "vit")
    return tmp_path / "vit"


@pytest.mark.ci
def test_a_run_is_identified_by_the_content_of_a_folder(
    spec: Any, folder: Path, tmp_path: Path
) -> None:
    words = ["loss=ce", "teacher=none", "student=hf"]
    first = spec(*words, f"student.model.path={folder}")
    copied = shutil.copytree(folder, tmp_path / "copied")
    assert spec(*words, f"student.model.path={copied}").fingerprint == first.fingerprint
    assert "path" not in first.config.student.model
    assert first.config.student.model["normalize"] == "weights"
    assert first.config.student.model["architecture"]["hidden_size"] == 16
    write_preprocessing(copied, image_mean=[0.5, 0.5, 0.5])
    assert spec(*words, f"student.model.path={copied}").fingerprint != first.fingerprint
    write_vit(copied, hidden_size=8)
    assert spec(*words, f"student.model.path={copied}").fingerprint != first.fingerprint
    random = spec(*words, f"student.model.path={folder}", "student.start=null")
    assert random.fingerprint != first.fingerprint
    assert random.config.student.model["normalize"] is None


def test_the_default_start_is_the_weights_of_the_folder(spec: Any, folder: Path) -> None:
    words = ["loss=ce", "teacher=none", "student=hf", f"student.model.path={folder}"]
    default, named = spec(*words), spec(*words, f"student.start={folder}")
    assert default.config.student.start == named.config.student.start
    written = load_file(default.config.student.start)
    assert set(load_file(folder / "model.safetensors")) & set(written)
    assert written["classifier.weight"].shape == (4, 16)


def test_a_head_for_other_classes_and_positions_of_another_size_are_replaced(
    spec: Any, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = ["loss=ce", "teacher=none", "student=hf", f"student.model.path={folder}"]
    student = spec(*words).config.student
    options = {k: v for k, v in student.model.items() if k != "_target_"}
    model = HuggingFace((3, 48, 48), 6, **options)
    with caplog.at_level("INFO"):
        load_start(model, student, Task("abcdef", (3, 48, 48)), "student")
    assert not model.classifier.weight.any()
    line = caplog.messages[-1]
    assert line.startswith("vit: read ")
    assert "37 positions from 17" in line
    assert "head dropped: 2 tensors ('classifier.bias', 'classifier.weight')" in line
    written = load_file(student.start)
    layer = "vit.layers.0.layernorm_before.weight"
    assert torch.equal(model.get_parameter(layer), written[layer])


@pytest.mark.ci
@pytest.mark.parametrize("write", [write_dinov2, write_clip])
def test_a_tower_gets_a_new_head(spec: Any, tmp_path: Path, write: Any) -> None:
    write(tmp_path / "tower")
    path = f"student.model.path={tmp_path / 'tower'}"
    student = spec("loss=ce", "teacher=none", "student=hf", path).config.student
    options = {k: v for k, v in student.model.items() if k != "_target_"}
    model = HuggingFace((3, 16, 16), 4, **options)
    load_start(model, student, Task("abcd", (3, 16, 16)), "student")
    assert not model.classifier.weight.any()
    assert model.eval()(torch.rand(2, 3, 16, 16)).shape == (2, 4)


@pytest.mark.slow
def test_a_teacher_is_used_as_it_is_or_trained_further(spec: Any, folder: Path) -> None:
    words = ["student=cnn", "teacher=hf", f"teacher.model.path={folder}"]
    assert spec(*words).teachers[0].run is None
    for recipe in ("finetune", "linear_probe"):
        run = spec(*words, f"recipe={recipe}", "teacher.trainer.epochs=2").teachers[0].run
        assert run.config.student.start.endswith(".safetensors")


@pytest.mark.parametrize("option", ["student.model.path=nowhere", "student.start=vit-of-nobody"])
def test_what_is_no_folder_is_refused(spec: Any, folder: Path, option: str) -> None:
    words = ["loss=ce", "teacher=none", "student=hf"]
    path = [] if "path" in option else [f"student.model.path={folder}"]
    with pytest.raises(UserError) as caught:
        spec(*words, *path, option)
    key = option.partition("=")[0]
    assert str(caught.value).startswith(f"{key} must be ")
    assert "\n" not in str(caught.value)


def test_pickled_weights_are_refused(spec: Any, folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    sentence = r"^student\.start must be a folder with config\.json and model\.safetensors"
    with pytest.raises(UserError, match=sentence):
        spec("loss=ce", "teacher=none", "student=hf", f"student.model.path={folder}")


def test_weights_in_parts_are_read_again_when_a_part_has_changed(
    folder: Path, tmp_path: Path
) -> None:
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    parts = {
        key: f"model-0000{1 + place % 2}-of-00002.safetensors" for place, key in enumerate(tensors)
    }
    index = {"metadata": {}, "weight_map": parts}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    for name in set(parts.values()):
        part = {key: value for key, value in tensors.items() if parts[key] == name}
        save_file(part, folder / name, {"format": "pt"})
    model = with_description({"_target_": TRANSFORMERS, "path": str(folder)}, "student.model")
    first = folder_file(folder, "student.start", model, tmp_path / "downloads")
    changed = {key: value + 1 for key, value in part.items()}
    save_file(changed, folder / name, {"format": "pt"})
    second = folder_file(folder, "student.start", model, tmp_path / "downloads")
    before, after = load_file(first), load_file(second)
    assert any(not torch.equal(before[key], after[key]) for key in before)


def test_a_file_that_holds_no_tensors_is_refused(spec: Any, folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(UserError, match="must be a folder with weights of this network"):
        spec("loss=ce", "teacher=none", "student=hf", f"student.model.path={folder}")


@pytest.mark.slow
def test_the_view_of_a_folder_is_no_part_of_what_identifies_a_run(spec: Any, folder: Path) -> None:
    words = ["loss=ce", "teacher=none", "student=hf", f"student.model.path={folder}"]
    first = spec(*words)
    write_preprocessing(folder, resample=3)
    second = spec(*words)
    views = [one.config.student.model["preprocessing"]["interpolation"] for one in (first, second)]
    assert views == [None, "bicubic"]
    assert first.fingerprint == second.fingerprint
    taught = ["student=cnn", "teacher=hf", f"teacher.model.path={folder}"]
    third = spec(*taught)
    write_preprocessing(folder, resample=2)
    assert spec(*taught).fingerprint == third.fingerprint
