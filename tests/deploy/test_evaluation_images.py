"""The images that files made of a classifier are compared on."""

from pathlib import Path

import pytest
import torch
from commands import Compose
from PIL import Image
from small_classifiers import classifier_of_run, small_classifier, small_manifest

from kdsweep.builders.data import build_dataset
from kdsweep.config.resolve import resolve_config
from kdsweep.deploy.classifier import Classifier
from kdsweep.deploy.evaluation_images import (
    dataset_of_run,
    images_to_compare,
    random_images,
)
from kdsweep.deploy.preprocessing import Preprocessing
from kdsweep.deploy.quantize.options import images_for, options_of
from kdsweep.errors import UserError

WORDS = ("dataset=fake", "dataset.source.shape=[1,8,8]", "tracking=none")


@pytest.fixture
def of_run(tmp_path: Path, compose: Compose, monkeypatch: pytest.MonkeyPatch) -> Classifier:
    monkeypatch.chdir(tmp_path)
    config = compose(*WORDS)
    dataset = build_dataset(resolve_config(config).dataset, "cpu")
    manifest = small_manifest(classes=dataset.class_names, preprocessing=Preprocessing.of(dataset))
    return classifier_of_run(tmp_path / "0", config, manifest)


def test_those_of_a_run_are_its_validation_images_as_it_was_split(of_run: Classifier) -> None:
    images, why = images_to_compare(of_run)
    dataset = dataset_of_run(of_run, Path("0"))
    assert why is None
    assert images.split == "val"
    assert images.name == f"the {len(images):,} validation images of fake"
    assert torch.equal(images.images, dataset.val.images)
    assert torch.equal(images.labels, dataset.val.labels)


def test_static_int8_is_calibrated_on_validation_images_and_measured_on_test(
    of_run: Classifier,
) -> None:
    calibration, measured = images_for(of_run, options_of(["all"], "minmax"), None, "test", 7)
    assert (calibration.split, len(calibration)) == ("val", 7)
    assert measured.split == "test"
    assert images_for(of_run, options_of(["all"], "minmax"), None, "val", 7)[1].split == "val"


def test_a_data_set_that_has_changed_is_not_compared_on(of_run: Classifier) -> None:
    path = Path("0/config.yaml")
    path.write_text(path.read_text().replace("noise:", "noise: 0.9 #"))
    images, why = images_to_compare(of_run)
    if why is None:  # the fake data set has no such option
        pytest.fail("the data set has not changed")
    assert "mean or std have changed since" in why
    assert images.labels is None


@pytest.mark.parametrize(
    ("named", "instead", "key"),
    [
        ("kdsweep.data.fake.Fake", "kdsweep.common.files.write_text_atomic", "dataset"),
        ("kdsweep.models.mlp.MLP", "torchvision.models.get_model", "student.model"),
    ],
)
def test_a_config_that_names_anything_else_is_not_followed(
    of_run: Classifier, named: str, instead: str, key: str
) -> None:
    """The folder of a run may come from anywhere."""
    path = Path("0/config.yaml")
    assert named in path.read_text()
    path.write_text(path.read_text().replace(named, instead))
    _, why = images_to_compare(of_run)
    assert why is not None
    assert why.startswith(f"{key}._target_ must be kdsweep.")
    assert why.endswith(f"got {instead}")


def test_random_pixels_are_the_same_each_time_and_are_named(tmp_path: Path) -> None:
    classifier = small_classifier(tmp_path)
    images, why = images_to_compare(classifier)
    assert why == "SOURCE is no run whose folder is here"
    assert images.name == "256 images of random pixels"
    assert torch.equal(images.images, random_images(classifier).images)


def test_a_part_of_them_is_evenly_spaced(tmp_path: Path) -> None:
    images = random_images(small_classifier(tmp_path), 9)
    chosen = images.evenly_spaced(3)
    assert chosen.name == "3 of 9 images of random pixels"
    assert torch.equal(chosen.images, images.images[[0, 4, 8]])
    assert images.evenly_spaced(20) is images


class TestFolder:
    def test_its_folders_are_the_classes(self, tmp_path: Path) -> None:
        for name, value in (("ant", 0), ("cat", 255)):
            (tmp_path / "own" / name).mkdir(parents=True)
            Image.new("L", (10, 10), value).save(tmp_path / "own" / name / "1.png")
        images, _ = images_to_compare(small_classifier(tmp_path / "bundle"), tmp_path / "own")
        assert images.images.shape == (2, 1, 8, 8)
        assert images.labels is not None
        assert images.labels.tolist() == [0, 2]

    def test_without_such_folders_there_are_no_labels(self, tmp_path: Path) -> None:
        (tmp_path / "own").mkdir()
        Image.new("L", (10, 10)).save(tmp_path / "own" / "1.png")
        images, _ = images_to_compare(small_classifier(tmp_path / "bundle"), tmp_path / "own")
        assert images.labels is None

    @pytest.mark.parametrize(
        ("content", "message"),
        [(None, "with images, got .*, which has none"), (b"no", "of readable images, got")],
    )
    def test_others_are_refused(self, content: bytes | None, message: str, tmp_path: Path) -> None:
        (tmp_path / "own").mkdir()
        if content is not None:
            (tmp_path / "own" / "1.png").write_bytes(content)
        with pytest.raises(UserError, match=f"--images must be a folder {message}"):
            images_to_compare(small_classifier(tmp_path / "bundle"), tmp_path / "own")
