"""`kdsweep export`, `quantize` and `bench` on the command line."""

import json
import shutil
from pathlib import Path

import pytest
from small_classifiers import MLP, small_classifier, small_manifest
from typer.testing import CliRunner

from kdsweep.cli import app

pytest.importorskip("onnx")


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bundle outside of a run, of a network without convolutions."""
    monkeypatch.chdir(tmp_path)
    small_classifier(tmp_path / "bundle", small_manifest(MLP))
    return "bundle"


def test_export_prints_what_was_written_and_on_what_it_was_checked(source: str) -> None:
    done = CliRunner().invoke(app, ["export", source, "--format", "pt2", "--output", "model.pt2"])
    assert done.exit_code == 0, done.output
    assert "written    model.pt2, " in done.output
    assert "the same class for all of 256 images of random pixels" in done.output
    assert "compared on random pixels: SOURCE is no run whose folder is here" in done.output
    assert Path("model.pt2").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["export", "--format", "tflite"], "--format must be one of onnx, pt2, safetensors, got"),
        (["export", "--opset", "12"], "--opset must be from 18 to 23, got 12"),
        (["quantize", "--method", "int4"], "--method must be one of static, dynamic, bf16"),
        (["quantize", "--split", "train"], "--split must be test or val, got train"),
        (["quantize", "--method", "static"], "--images must be a folder of images to calibrate"),
        (["export", "--output", "file/model.onnx"], "--output must be in a folder that can be"),
        (["quantize", "--method", "bf16", "--output", "file"], "--output must be in a folder that"),
        (
            ["bench", "--plot", "file/bench.png"],
            "--plot must be in a folder that can be written to",
        ),
        (["push", "file/student"], "DIR must be in a folder that can be written to, got file"),
        (["quantize", "--method", "bf16", "--qat", "1"], "--qat needs a run to train further"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(
    words: list[str], message: str, source: str
) -> None:
    Path("file").touch()
    command, *options = words
    done = CliRunner().invoke(app, [command, source, *options])
    assert done.exit_code == 1
    assert message in done.output
    assert len(done.output.strip().splitlines()) == 1


def test_bench_prints_a_table_or_json(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kdsweep.deploy.bench import batches

    monkeypatch.setattr(batches, "SIZES", (1, 4))
    monkeypatch.setattr(batches, "SECONDS", 0.0)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(exported, "run")
    Path("run/result.json").write_text('{"status": "FINISHED"}')
    words = ["bench", "run/checkpoint", "--no-memory", "--threads", "1"]
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 0, done.output
    content = json.loads(done.stdout)
    assert content["threads"] == 1
    assert [row["runtime"] for row in content["rows"]] == ["torch fp32", "ONNX fp32"]
    assert content == json.loads(Path("run/deploy/bench.json").read_text())
    assert Path("run/deploy/bench.png").is_file()
