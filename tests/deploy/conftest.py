"""A bundle in a folder of its own; and one with its ONNX file, for tests that only read them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from bundles import written
from small_classifiers import small_classifier

from kdsweep.deploy.bundle import read_bundle
from kdsweep.deploy.classifier import Classifier


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A classifier of cats and dogs with random weights."""
    return written(tmp_path / "bundle")


@pytest.fixture(scope="package", autouse=True)
def _timed_briefly() -> Iterator[None]:
    """Every call has a few turns, because no test depends on a time."""
    from kdsweep.deploy import timing

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing, "SECONDS", 0.0)
        patch.setattr(timing, "TURN", 0.0)
        yield


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `checkpoint/`, a bundle, and `deploy/model.onnx`, of opset 19."""
    pytest.importorskip("onnx")
    from kdsweep.deploy.evaluation_images import random_images
    from kdsweep.deploy.export.export import write_onnx

    folder = tmp_path_factory.mktemp("exported")
    classifier = small_classifier(folder / "checkpoint")
    (folder / "deploy").mkdir()
    write_onnx(folder / "deploy/model.onnx", classifier, random_images(classifier), opset=19)
    return folder


@pytest.fixture(scope="session")
def classifier(exported: Path) -> Classifier:
    """The one that the folder is of."""
    return read_bundle(exported / "checkpoint")
