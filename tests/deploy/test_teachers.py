"""The teacher of a classifier: an ensemble, a file of weights, one that is not here."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bundles import MLP, manifest, written
from small_classifiers import CNN

from kdsweep.common.notices import warn_once
from kdsweep.deploy.architecture import build_module
from kdsweep.deploy.bundle import read_bundle
from kdsweep.deploy.teachers import teacher_if_here, teacher_of
from kdsweep.errors import UserError
from kdsweep.tracking.mlflow.store import MLflowStore

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 6, 8, 3), dtype=np.uint8)


def no_store() -> MLflowStore:
    raise AssertionError("no store is needed")


def member(folder: Path, seed: int) -> dict[str, str]:
    fingerprint = f"f00d{seed:012}"
    written(folder / "checkpoint", seed, run={"name": f"t{seed}", "fingerprint": fingerprint})
    return {"name": f"t{seed}", "fingerprint": fingerprint, "folder": str(folder)}


def test_an_ensemble_has_the_mean_of_the_probabilities(tmp_path: Path) -> None:
    entries = tuple(member(tmp_path / str(seed), seed) for seed in (1, 2))
    student = read_bundle(written(tmp_path / "student", teachers=entries))
    teacher = teacher_of(student, no_store)
    members = [read_bundle(Path(entry["folder"]) / "checkpoint") for entry in entries]
    mean = torch.stack([one.predict(IMAGES).probabilities for one in members]).mean(0)
    assert torch.allclose(teacher.predict(IMAGES).probabilities, mean, atol=1e-6)
    assert teacher.source["name"] == "t1+t2"


def test_a_teacher_given_as_weights_is_read_as_in_training(tmp_path: Path) -> None:
    file = tmp_path / "teacher.pt"
    network = build_module(manifest(model={**MLP, "width": 5}))
    torch.save({"state_dict": network.state_dict()}, file)
    entry = {"name": "mlp", "model": {**MLP, "width": 5}, "weights": str(file)}
    student = read_bundle(written(tmp_path / "student", teachers=(entry,)))
    teacher = teacher_of(student, no_store)
    images = torch.stack([student.preprocessing(image) for image in IMAGES])
    assert torch.equal(teacher.logits(IMAGES), network(images))


def test_a_teacher_given_as_weights_has_a_size_of_its_own(tmp_path: Path) -> None:
    """Not that of its student, which is given smaller images than those of the data set."""
    of_data = manifest(model=CNN)
    shown = of_data.preprocessing
    torch.save({"state_dict": build_module(of_data).state_dict()}, tmp_path / "teacher.pt")
    entry = {"name": "cnn", "model": CNN, "weights": str(tmp_path / "teacher.pt")}
    for size, expected in ((None, shown), ([9, 7], shown.of_network([9, 7]))):
        sized = {**entry, "image_size": size} if size else entry
        folder = tmp_path / f"student {size}"
        smaller = {"model": CNN, "preprocessing": shown.of_network(4), "teachers": (sized,)}
        teacher = teacher_of(read_bundle(written(folder, **smaller)), no_store)
        assert teacher.preprocessing == expected


def test_an_ensemble_may_have_several_sizes(tmp_path: Path) -> None:
    shown, entries = manifest(model=CNN).preprocessing, []
    for seed, size in ((1, 4), (2, [9, 7])):
        run = {"name": f"t{seed}", "fingerprint": f"f00d{seed:012}"}
        options = {"model": CNN, "preprocessing": shown.of_network(size), "run": run}
        written(tmp_path / str(seed) / "checkpoint", seed, **options)
        entries.append({**run, "folder": str(tmp_path / str(seed))})
    student = read_bundle(written(tmp_path / "student", model=CNN, teachers=tuple(entries)))
    teacher = teacher_of(student, no_store)
    members = [read_bundle(Path(entry["folder"]) / "checkpoint") for entry in entries]
    mean = torch.stack([one.predict(IMAGES).probabilities for one in members]).mean(0)
    assert teacher.preprocessing == shown
    assert torch.allclose(teacher.predict(IMAGES).probabilities, mean, atol=1e-6)


def test_a_folder_of_another_teacher_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    entry = member(tmp_path / "1", 1) | {"fingerprint": "beef" * 4}
    student = read_bundle(written(tmp_path / "student", teachers=(entry,)))

    def absent() -> MLflowStore:
        raise UserError("no store")

    with pytest.raises(UserError, match="no store"):
        teacher_of(student, absent)


def test_a_teacher_that_names_code_is_refused(tmp_path: Path) -> None:
    entry = {"name": "x", "model": {"_target_": "os.system"}, "weights": "w"}
    student = read_bundle(written(tmp_path / "student", teachers=(entry,)))
    with pytest.raises(
        UserError, match=r"^model\._target_ must be kdsweep\.models\.\*, got os\.system"
    ):
        teacher_of(student, no_store)


@pytest.mark.parametrize("entry", [{"name": "vgg13"}, {"name": "vgg13", "model": MLP}])
def test_a_teacher_whose_weights_were_not_published_is_refused(
    tmp_path: Path, entry: dict[str, Any]
) -> None:
    student = read_bundle(written(tmp_path / "student", teachers=(entry,)))
    with pytest.raises(UserError, match=r"^SOURCE must be .* does not name those of vgg13$"):
        teacher_of(student, no_store)


def test_a_teacher_that_is_not_there_is_left_out_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    warn_once.cache_clear()
    entry = {"name": "cnn", "fingerprint": "beef" * 4}
    student = read_bundle(written(tmp_path / "student", teachers=(entry,)))

    def absent() -> MLflowStore:
        raise UserError("no store")

    assert teacher_if_here(student, absent) is None
    assert "without its teacher: no store" in caplog.text
    assert teacher_if_here(read_bundle(written(tmp_path / "alone")), no_store) is None
