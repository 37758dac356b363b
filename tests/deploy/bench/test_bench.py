"""What models cost to run."""

import io
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import Compose
from PIL import Image
from rich.console import Console
from small_classifiers import CLASSES, MLP, classifier_of_run, small_classifier, small_manifest

from kdsweep.common.notices import warn_once
from kdsweep.deploy.bench import batches
from kdsweep.deploy.bench.accuracy import AccuracyOnTest
from kdsweep.deploy.bench.batches import Speed, measure_speed
from kdsweep.deploy.bench.bench import BenchRow, bench, draw, show, to_json
from kdsweep.deploy.bench.cost import num_macs, num_parameters
from kdsweep.deploy.bench.peak_memory import peak_bytes
from kdsweep.deploy.classifier import Classifier
from kdsweep.deploy.evaluation_images import dataset_of_run, images_of_dataset
from kdsweep.deploy.runtimes import fast_torch_runtime

onnx = pytest.importorskip("onnx")

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


@pytest.fixture
def of_run(
    exported: Path, tmp_path: Path, compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> Classifier:
    """A classifier of a run on a folder of images, with its ONNX file; its record is wrong."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(batches, "SIZES", (1, 4))
    monkeypatch.setattr(batches, "SECONDS", 0.01)
    generator = np.random.default_rng(0)
    for part in ("train", "test"):
        for number in range(30):
            path = Path("data", part, CLASSES[number % 3], f"{number}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 256, (8, 8), dtype=np.uint8)).save(path)
    config = compose(
        "dataset=image_folder",
        "dataset.root=data",
        "dataset.source.image_size=8",
        "dataset.source.channels=1",
        "dataset.mean=[0.3]",
        "dataset.std=[0.4]",
        "tracking=none",
    )
    shutil.copytree(exported, "0")
    return classifier_of_run(tmp_path / "0", config, small_manifest())


def accuracy_of(classifier: Classifier, sign: int) -> float:
    """On the test images of the run."""
    images = images_of_dataset(dataset_of_run(classifier, Path("0")), "test")
    predicted = (sign * classifier.logits_of_pixels(images.images)).argmax(1)
    return float((predicted == images.labels).double().mean())


def negate(path: Path, target: Path) -> None:
    """Write an ONNX file with the logits of another one, negated."""
    model = onnx.load(path)
    (last,) = (node for node in model.graph.node if "logits" in node.output)
    last.output[list(last.output).index("logits")] = "negative"
    model.graph.node.append(onnx.helper.make_node("Neg", ["negative"], ["logits"]))
    onnx.save(model, target)


@pytest.mark.ci
def test_each_file_is_run_on_the_test_set_for_its_accuracy(of_run: Classifier) -> None:
    """The record of `kdsweep quantize` is not read: here it is another program's."""
    folder = Path("0/deploy")
    negate(folder / "model.onnx", folder / "int8-static.onnx")
    (folder / "int8-dynamic.onnx").write_bytes(b"<html>")
    (folder / "quantize.json").write_text("[1]")
    right, wrong = accuracy_of(of_run, 1), accuracy_of(of_run, -1)
    assert len({right, wrong, 0.5}) == 3
    found = bench([("kl", of_run), ("again", of_run)], memory=False)
    assert [(one.runtime, one.accuracy) for one in found] == 2 * [
        ("torch fp32", right),
        ("ONNX fp32", right),
        ("int8 static", wrong),
    ]


def test_without_the_data_set_only_the_accuracy_of_the_run_is_known(
    of_run: Classifier, caplog: pytest.LogCaptureFixture
) -> None:
    warn_once.cache_clear()
    path = Path("0/config.yaml")
    path.write_text(path.read_text().replace("root: data", "root: gone"))
    found = bench([("kl", of_run)], memory=False)
    assert [one.accuracy for one in found] == [0.5, None]
    assert "is not measured: " in caplog.text
    in_bf16 = replace(of_run, manifest=replace(of_run.manifest, precision="bf16"))
    assert AccuracyOnTest.recorded(in_bf16) is None, "that of the network in bf16"


def test_a_teacher_without_a_run_is_measured_on_the_images_of_its_student(
    of_run: Classifier, tmp_path: Path
) -> None:
    run = fast_torch_runtime(of_run.module, of_run.preprocessing)
    teacher = replace(of_run, source={"name": "weights.pt", "folder": str(tmp_path / "weights.pt")})
    on_test = AccuracyOnTest()
    assert on_test.measure(teacher, run) is None
    expected = on_test.measure(of_run, run)
    assert on_test.measure(teacher, run) == expected == accuracy_of(of_run, 1)


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
