"""The run that a classifier is of, also where its files have been copied."""

import json
import shutil
from pathlib import Path

import pytest
from bundles import manifest, written

from kdsweep.common.files import read_json, write_json_atomic
from kdsweep.deploy.bundle import read_bundle
from kdsweep.deploy.classifier import Classifier
from kdsweep.deploy.source_run import address_of, run_folder, run_id_of
from kdsweep.deploy.sources import load_bundle
from kdsweep.report.sources.address import Address

FINGERPRINT = "f00d" * 4


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a finished run below multirun/."""
    monkeypatch.chdir(tmp_path)
    folder = Path("multirun/sweep/0")
    written(folder / "checkpoint", run={"name": "kl", "fingerprint": FINGERPRINT})
    digest = read_json(folder / "checkpoint/classifier.json")["weights_sha256"]
    write_json_atomic(folder / "run.json", {"name": "kl", "fingerprint": FINGERPRINT, "params": {}})
    result = {"status": "FINISHED", "weights_sha256": digest, "mlflow_run_id": "abc"}
    write_json_atomic(folder / "result.json", result)
    return folder


def test_it_is_above_the_files(run: Path) -> None:
    assert run_folder(read_bundle(run / "checkpoint")) == run.absolute()


def test_that_of_a_copy_is_found_by_its_fingerprint(run: Path) -> None:
    """A model that is registered in MLflow is one: a download."""
    shutil.copytree(run / "checkpoint", "teachers/downloads/models/student/1")
    found = run_folder(read_bundle(Path("teachers/downloads/models/student/1")))
    assert found is not None
    assert found.samefile(run)


def test_a_copy_with_other_weights_is_of_no_run(run: Path) -> None:
    """Weights that were rounded, or those of an earlier training."""
    written(Path("other"), 1, run={"name": "kl", "fingerprint": FINGERPRINT})
    assert run_folder(read_bundle(Path("other"))) is None
    shutil.copytree("other", run / "mine")
    assert run_folder(read_bundle(run / "mine")) is None


def test_a_network_without_files_is_of_no_run(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ensemble of teachers is one; the current folder means nothing."""
    module = read_bundle(run / "checkpoint").module
    monkeypatch.chdir(run / "checkpoint")
    assert run_folder(Classifier(module, manifest(), {"name": "a+b"})) is None


def test_the_id_of_a_downloaded_run_is_in_its_result(run: Path) -> None:
    (run / "run.json").unlink()
    assert run_id_of(run) == "abc"
    assert load_bundle(run / "checkpoint").source["run_id"] == "abc"
    write_json_atomic(run / "run.json", {"params": {}, "mlflow_run_id": "def"})
    assert run_id_of(run) == "def"


def test_its_store_is_that_of_its_sweep_unless_one_is_named(run: Path) -> None:
    (run / "config.yaml").write_text("tracking: {uri: 'http://old', experiment: mine}")
    assert address_of(run) == Address("http://old", "mine")
    note = {"name": "s", "created": 0, "tracking_uri": "sqlite:////gone/mlflow.db"}
    (run.parent / "sweep.json").write_text(json.dumps(note))
    assert address_of(run) == Address("sqlite:///mlflow.db", "mine")
    assert address_of(run, Address("http://new", None)) == Address("http://new", "mine")
