"""Files of earlier commands have a row next to those of the latest one."""

import json
import os
import shutil
from pathlib import Path

import pytest
from small_classifiers import small_classifier, small_manifest

from kdsweep.common.files import read_json
from kdsweep.common.notices import warn_once
from kdsweep.deploy.bundle import read_bundle, write_bundle
from kdsweep.deploy.classifier import Classifier
from kdsweep.deploy.evaluation_images import random_images
from kdsweep.deploy.export import export as module_of_export
from kdsweep.deploy.quantize.earlier import earlier_aware, earlier_variants
from kdsweep.deploy.quantize.quantize import Quantized, quantize
from kdsweep.deploy.quantize.variants import QuantizeOptions

pytest.importorskip("onnx")

FP32 = ["torch fp32", "ONNX fp32"]
QAT = Path("deploy/qat-12345678")


@pytest.fixture
def run(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Classifier:
    """A classifier in the folder of a finished run, which holds its ONNX file."""
    monkeypatch.chdir(tmp_path)
    warn_once.cache_clear()
    shutil.copytree(exported, "0")
    Path("0/result.json").write_text('{"status": "FINISHED"}')
    return read_bundle(tmp_path / "0/checkpoint")


def made(classifier: Classifier, *methods: str, folder: Path = Path("0/deploy")) -> Quantized:
    images = random_images(classifier, 20)
    return quantize(classifier, folder, QuantizeOptions(methods), images, images)


def names(folder: Path = Path("0/deploy")) -> list[str]:
    return [row["name"] for row in read_json(folder / "quantize.json")["rows"]]


def test_a_later_command_keeps_the_rows_of_earlier_ones(run: Classifier) -> None:
    made(run, "static", "bf16")
    files = (Path("0/deploy/int8-static.onnx"), Path("0/deploy/bf16/model.safetensors"))
    contents = [file.read_bytes() for file in files]
    found = made(run, "dynamic")
    assert names() == [*FP32, "int8 static", "int8 dynamic", "bf16 weights"]
    assert [file.read_bytes() for file in files] == contents
    static, dynamic, *_ = found.rows[2:]
    assert static.calibration == "minmax on 20 images of random pixels"
    assert dynamic.calibration is None
    assert static.seconds > 0


def test_files_of_other_weights_have_no_row(run: Classifier) -> None:
    made(run, "static", "dynamic", "fp16")
    other = small_classifier(Path("other"), small_manifest())
    with_others = {name: 2 * value for name, value in other.module.state_dict().items()}
    other.module.load_state_dict(with_others)
    write_bundle(Path("0/checkpoint"), other.module, other.manifest)
    assert list(earlier_variants(read_bundle(Path("0/checkpoint")), Path("0/deploy"))) == []


def test_damaged_files_are_left_out_with_a_warning(
    run: Classifier, caplog: pytest.LogCaptureFixture
) -> None:
    made(run, "static", "dynamic", "fp16")
    static, fp16 = Path("0/deploy/int8-static.onnx"), Path("0/deploy/fp16")
    static.write_bytes(static.read_bytes()[:300])
    (fp16 / "classifier.json").write_text("{")
    assert [one.name for one in earlier_variants(run, Path("0/deploy"))] == ["int8 dynamic"]
    assert len(caplog.messages) == 2
    assert caplog.messages[0].startswith("0/deploy/int8-static.onnx is passed over: ")
    assert "SOURCE must have a classifier.json that this version" in caplog.messages[1]


def test_a_damaged_onnx_file_is_written_again(
    run: Classifier, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = exported / "deploy/model.onnx"
    monkeypatch.setattr(
        module_of_export, "write_onnx", lambda path, *_: shutil.copyfile(whole, path)
    )
    path = Path("0/deploy/model.onnx")
    path.write_bytes(b"<html>")
    made(run, "bf16")
    assert path.read_bytes() == whole.read_bytes()


def test_figures_of_files_elsewhere_are_next_to_them(run: Classifier) -> None:
    made(run, "static")
    record = Path("0/deploy/quantize.json").read_text()
    elsewhere = Path("elsewhere")
    elsewhere.mkdir()
    shutil.copy("0/deploy/model.onnx", elsewhere)
    found = made(run, "dynamic", folder=elsewhere)
    assert names(elsewhere) == [*FP32, "int8 dynamic"]
    assert found.recorded.startswith("figures in elsewhere/quantize.json, not logged")
    assert Path("0/deploy/quantize.json").read_text() == record


def test_the_last_network_trained_with_rounding_keeps_its_rows(run: Classifier) -> None:
    made(run, "static")
    for number, folder in enumerate((QAT, QAT.with_name("qat-9"))):
        shutil.copytree("0/checkpoint", "0" / folder / "checkpoint")
        (folder_of_files := "0" / folder / "deploy").mkdir()
        shutil.copy("0/deploy/int8-static.onnx", folder_of_files)
        os.utime(folder_of_files / "int8-static.onnx", (number, number))
    found = made(run, "dynamic")
    assert names() == [
        *FP32, "int8 static", "int8 dynamic", "QAT torch fp32", "QAT int8 static",
    ]  # fmt: skip
    assert found.rows[-1].num_bytes == found.rows[2].num_bytes
    latest = earlier_aware(Path("0"))
    assert latest[1].files == (Path("0/deploy/qat-9/deploy/int8-static.onnx"),)
    damaged = Path("0/deploy/qat-9/checkpoint/classifier.json")
    damaged.write_text(json.dumps({"format": 7}))
    assert earlier_aware(Path("0"))[1].files == ("0" / QAT / "deploy/int8-static.onnx",)
