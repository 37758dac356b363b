"""What models cost to run."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from small_classifiers import MLP, small_classifier, small_manifest

from kdsweep.deploy.bench import batches
from kdsweep.deploy.bench.batches import Speed, measure_speed
from kdsweep.deploy.bench.bench import BenchRow, bench, draw, show, to_json
from kdsweep.deploy.bench.cost import num_macs, num_parameters
from kdsweep.deploy.bench.peak_memory import peak_bytes
from kdsweep.deploy.bundle import read_bundle
from kdsweep.deploy.classifier import Classifier

SPEED = Speed({1: 0.001, 16: 0.004, 256: 0.064})


def row(model: str = "kl", runtime: str = "torch fp32", accuracy: float | None = 0.9) -> BenchRow:
    return BenchRow(model, runtime, 1000, 2000, 4000, accuracy, SPEED, 5000)


def test_the_best_batch_is_the_smallest_with_the_highest_throughput() -> None:
    assert SPEED.latency == 0.001
    assert SPEED.best_batch == 16
    assert SPEED.throughput == 4000


def test_macs_are_those_of_the_layers(tmp_path: Path) -> None:
    classifier = small_classifier(tmp_path, small_manifest(MLP))
    assert num_macs(classifier.module, classifier.preprocessing) == 64 * 16 + 16 * 16 + 16 * 3
    assert num_parameters(classifier.module) == 64 * 16 + 16 + 16 * 16 + 16 + 16 * 3 + 3


def test_batches_that_take_too_long_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def timed(calls, seconds):
        size = len(next(iter(calls.values())).args[0])
        return {name: size * (0.1 if name == "slow" else 0.001) for name in calls}

    monkeypatch.setattr(batches, "interleaved", timed)
    found = measure_speed(dict.fromkeys(("slow", "fast"), lambda x: x), dict.fromkeys(
        ("slow", "fast"), (1, 2, 2)
    ))  # fmt: skip
    assert list(found["slow"].seconds) == [1, 4]
    assert list(found["fast"].seconds) == [1, 4, 16, 64, 256]


def test_a_model_is_measured_in_torch_and_onnx_and_as_its_int8_file(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(exported, tmp_path, dirs_exist_ok=True)
    (tmp_path / "result.json").write_text('{"status": "FINISHED"}')
    classifier = read_bundle(tmp_path / "checkpoint")
    shutil.copy(tmp_path / "deploy/model.onnx", tmp_path / "deploy/int8-static.onnx")
    known = {"split": "test", "rows": [{"name": "int8 static", "accuracy": 0.4}]}
    weights = {"weights_sha256": classifier.manifest.weights_sha256}
    (tmp_path / "deploy/quantize.json").write_text(json.dumps(known | weights))
    monkeypatch.setattr(batches, "SIZES", (1, 4))
    monkeypatch.setattr(batches, "SECONDS", 0.01)
    found = bench([("kl", classifier)], memory=False)
    assert [(one.runtime, one.accuracy) for one in found] == [
        ("torch fp32", 0.5),
        ("ONNX fp32", 0.5),
        ("int8 static", 0.4),
    ]
    (tmp_path / "deploy/quantize.json").write_text(json.dumps(known | {"weights_sha256": "x"}))
    assert len(bench([("kl", classifier)], memory=False)) == 2  # of other weights


@pytest.mark.slow
def test_memory_is_that_of_loading_and_running_a_model(
    exported: Path, classifier: Classifier
) -> None:
    shape = classifier.preprocessing.in_shape
    small = peak_bytes("onnx", exported / "deploy/model.onnx", 1, shape)
    large = peak_bytes("onnx", exported / "deploy/model.onnx", 4096, shape)
    assert small is not None
    assert large is not None
    assert large > small + 4096 * 4 * 64 * 4  # the maps of the first convolution alone
    assert peak_bytes("torch", exported / "checkpoint", 1, shape) is not None


@pytest.mark.skipif(sys.platform != "linux", reason="no other system reports the peak")
def test_a_process_that_fails_leaves_the_memory_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    done = subprocess.CompletedProcess([], -9, stdout="", stderr="...\nMemoryError\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    with caplog.at_level("WARNING"):
        assert peak_bytes("onnx", tmp_path / "model.onnx", 1, (1, 8, 8)) is None
    assert "model.onnx cannot be measured: MemoryError" in caplog.text


def test_the_plot_has_the_models_whose_accuracy_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kdsweep.plotting import tradeoff

    figures = []
    monkeypatch.setattr(
        tradeoff, "save_with_title", lambda figure, path, title: figures.append((figure, title))
    )
    draw([row(), row(runtime="int8 static", accuracy=0.8), row("x", accuracy=None)], tmp_path / "p")
    ((figure, title),) = figures
    assert "thread" in title
    (axes,) = figure.axes
    drawn = [line.get_ydata()[0] for line in axes.lines if len(line.get_ydata()) == 1]
    assert sorted(drawn) == [pytest.approx(80), pytest.approx(90)]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "kl",
        "torch fp32",
        "int8 static",
    ]


def test_nothing_is_drawn_without_accuracies(tmp_path: Path) -> None:
    draw([row(accuracy=None)], tmp_path / "bench.png")
    assert not list(tmp_path.iterdir())


def test_the_table_and_its_json_have_the_same_figures(tmp_path: Path) -> None:
    out = io.StringIO()
    show([row()], tmp_path / "bench.png", Console(file=out, width=140))
    for text in ("kl", "torch fp32", "90.00", "1,000", "2,000", "4.0 kB", "16", "4,000", "5.0 kB"):
        assert text in out.getvalue()
    (content,) = to_json([row()])["rows"]
    assert content["latency_ms"] == 1.0
    assert (content["best_batch"], content["images_per_second"]) == (16, 4000)
