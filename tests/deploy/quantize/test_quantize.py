"""Smaller files of a classifier, and their figures."""

import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from small_classifiers import MLP, small_classifier, small_manifest

from kdsweep.deploy.bundle import read_bundle
from kdsweep.deploy.classifier import Classifier
from kdsweep.deploy.evaluation_images import EvaluationImages, random_images
from kdsweep.deploy.export import export as module_of_export
from kdsweep.deploy.export.export import ensure_onnx
from kdsweep.deploy.export.onnx_file import metadata
from kdsweep.deploy.preprocessing import Preprocessing
from kdsweep.deploy.quantize.int8 import of_equal_size
from kdsweep.deploy.quantize.measure import measure
from kdsweep.deploy.quantize.options import images_for, options_of
from kdsweep.deploy.quantize.quantize import Quantized, quantize, show
from kdsweep.deploy.quantize.variants import QuantizeOptions, Variant, teacher_variant
from kdsweep.deploy.runtimes import logits_of
from kdsweep.deploy.teachers import MeanProbabilities
from kdsweep.errors import UserError

onnx = pytest.importorskip("onnx")

WIDE = {"_target_": "kdsweep.models.convnet4.ConvNet4", "width": 64}
COLOUR = Preprocessing(3, (16, 16), (0.5, 0.4, 0.3), (0.2, 0.2, 0.3))


def labelled(classifier: Classifier, count: int = 200) -> EvaluationImages:
    """Random pixels with the classes that the network gives most of them."""
    images = random_images(classifier, count)
    labels = classifier.logits_of_pixels(images.images).argmax(1)
    labels[::10] = (labels[::10] + 1) % len(classifier.classes)
    return EvaluationImages(images.name, "val", images.images, labels)


@pytest.fixture(scope="module")
def made(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Quantized, Classifier]:
    folder = tmp_path_factory.mktemp("run")
    shutil.copytree(exported, folder, dirs_exist_ok=True)
    classifier = read_bundle(folder / "checkpoint")
    images = labelled(classifier)
    other = small_classifier(folder / "teacher", small_manifest(MLP))
    found = quantize(
        classifier, folder / "deploy", QuantizeOptions(), images, images, teacher=other
    )
    return found, classifier


def test_every_variant_has_a_row_and_is_compared_with_torch(
    made: tuple[Quantized, Classifier],
) -> None:
    found, _ = made
    names = ["torch fp32", "ONNX fp32", "int8 static", "int8 dynamic", "bf16 weights"]
    assert [row.name for row in found.rows] == [*names, "fp16 weights", "teacher"]
    assert [row.accuracy for row in found.rows[:2]] == [0.9, 0.9]
    assert found.rows[1].same_class == 1
    for row in found.rows[1:]:
        assert row.against is not None
        assert row.against.difference == pytest.approx(row.accuracy - 0.9)
        assert row.same_class > 0.9 or row.name == "teacher"
        assert row.seconds > 0


def test_an_ensemble_without_files_has_the_size_of_its_weights(tmp_path: Path) -> None:
    member = small_classifier(tmp_path / "bundle", small_manifest(MLP))
    module = MeanProbabilities([member.module, member.module])
    ensemble = replace(member, module=module, source={"name": "a+b"})
    weights = 4 * sum(parameter.numel() for parameter in member.module.parameters())
    assert teacher_variant(ensemble).num_bytes == 2 * weights
    assert teacher_variant(member).num_bytes > weights


def test_convolutions_have_int8_weights_with_a_scale_for_each_channel(
    made: tuple[Quantized, Classifier],
) -> None:
    model = onnx.load(made[0].folder / "int8-static.onnx")
    weights = [one for one in model.graph.initializer if len(one.dims) == 4]
    assert weights
    assert {one.data_type for one in weights} == {onnx.TensorProto.INT8}
    scales = {one.name: list(one.dims) for one in model.graph.initializer if "scale" in one.name}
    assert [4] in scales.values()  # of a convolution with 4 channels
    assert {one.key for one in model.metadata_props} >= {"classes", "preprocessing", "images"}


def test_dynamic_quantization_leaves_convolutions_alone(
    made: tuple[Quantized, Classifier],
) -> None:
    model = onnx.load(made[0].folder / "int8-dynamic.onnx")
    kinds = {one.data_type for one in model.graph.initializer if len(one.dims) == 4}
    assert kinds == {onnx.TensorProto.FLOAT}
    assert "MatMulInteger" in {node.op_type for node in model.graph.node}


@pytest.mark.parametrize("kind", ["bf16", "fp16"])
def test_rounded_weights_are_loaded_as_any_others(
    kind: str, made: tuple[Quantized, Classifier]
) -> None:
    found, classifier = made
    rounded = read_bundle(found.folder / kind)
    assert "metrics" not in rounded.source, "those are of the weights in fp32"
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[kind]
    weights = dict(rounded.module.named_parameters())
    for name, weight in classifier.module.named_parameters():
        assert weights[name].dtype == torch.float32
        torch.testing.assert_close(weights[name], weight.to(dtype).float(), rtol=0, atol=0)


def test_no_draft_is_left(made: tuple[Quantized, Classifier]) -> None:
    names = {path.name for path in made[0].folder.iterdir()}
    assert names == {"model.onnx", "int8-static.onnx", "int8-dynamic.onnx", "bf16", "fp16"}


def test_the_table_has_sizes_differences_and_ratios(made: tuple[Quantized, Classifier]) -> None:
    out = io.StringIO()
    show(made[0], Console(file=out, width=120))
    text = " ".join(out.getvalue().split())
    assert "int8 static" in text
    assert "90.00" in text
    images = "200 images of random pixels"
    assert f"int8 static: calibrated by minmax on {images}" in text
    assert f"accuracy on {images}; difference to torch fp32" in text
    assert "McNemar" in text


def test_an_onnx_file_of_the_same_weights_is_not_written_again(
    made: tuple[Quantized, Classifier],
) -> None:
    assert onnx.load(made[0].folder / "model.onnx").opset_import[0].version == 19


def test_an_onnx_file_with_another_input_is_written_again(
    exported: Path, classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`kdsweep export --preprocess --output deploy/model.onnx` writes such a file."""
    written: list[Path] = []
    monkeypatch.setattr(module_of_export, "write_onnx", lambda path, *_: written.append(path))
    path = tmp_path / "model.onnx"
    ensure_onnx(exported / "deploy/model.onnx", classifier, random_images(classifier, 1))
    assert written == []
    model = onnx.load(exported / "deploy/model.onnx")
    onnx.helper.set_model_props(model, metadata(classifier, inside=True))
    onnx.save(model, path)
    ensure_onnx(path, classifier, random_images(classifier, 1))
    assert written == [path]


@pytest.mark.slow
def test_static_int8_takes_a_third_of_the_bytes_of_a_larger_network(tmp_path: Path) -> None:
    classifier = small_classifier(
        tmp_path / "checkpoint", small_manifest(WIDE, preprocessing=COLOUR)
    )
    assert sum(weight.numel() for weight in classifier.module.parameters()) > 100_000
    images = labelled(classifier, 64)
    options = QuantizeOptions(("static",))
    found = quantize(classifier, tmp_path / "deploy", options, images, images)
    assert found.rows[-1].num_bytes <= 0.35 * found.rows[1].num_bytes


def test_figures_are_those_of_the_predictions() -> None:
    preprocessing = Preprocessing(1, (1, 1), (0.0,), (1.0,))
    pixels = torch.zeros(4, 1, 1, 1, dtype=torch.uint8)
    images = EvaluationImages("4 images", "val", pixels, torch.tensor([0, 1, 0, 1]))

    def always(*classes: int):
        logits = np.eye(2, dtype=np.float32)[list(classes)]
        return lambda inputs: logits[: len(inputs)]

    variants = [Variant("a", (), always(0, 1, 1, 1)), Variant("b", (), always(0, 0, 0, 0))]
    first, second = measure(variants, preprocessing, images)
    assert (first.accuracy, first.against, first.same_class) == (0.75, None, 1)
    assert (second.accuracy, second.same_class) == (0.5, 0.25)
    assert second.against is not None
    assert (second.against.only_first, second.against.only_second) == (2, 1)
    assert second.to_json()["difference"] == -0.25
    assert logits_of(variants[0].run, preprocessing, images).shape == (4, 2)


def test_a_smaller_last_batch_is_left_out_of_histograms() -> None:
    batches = [np.zeros((4, 1)), np.ones((4, 1)), np.zeros((1, 1))]
    assert [len(one) for one in of_equal_size(batches)] == [4, 4]
    assert [len(one) for one in of_equal_size(batches[2:])] == [1]


class TestOptions:
    def test_all_stands_for_every_method_and_the_order_is_fixed(self) -> None:
        assert options_of(["all"], "minmax").methods == ("static", "dynamic", "bf16", "fp16")
        assert options_of(["fp16", "static"], "entropy").methods == ["static", "fp16"]

    @pytest.mark.parametrize(
        ("methods", "calibration", "message"),
        [
            (["int4"], "minmax", "--method must be one of static, dynamic, bf16, fp16, all, got"),
            (["all"], "max", "--calibration must be one of minmax, entropy, percentile, got max"),
        ],
    )
    def test_unknown_words_are_refused(
        self, methods: list[str], calibration: str, message: str
    ) -> None:
        with pytest.raises(UserError, match=message):
            options_of(methods, calibration)

    def test_static_int8_needs_images(self, tmp_path: Path) -> None:
        classifier = small_classifier(tmp_path, small_manifest(MLP))
        with pytest.raises(UserError, match="--images must be a folder of images to calibrate"):
            images_for(classifier, options_of(["static"], "minmax"), None, "test", 8)
        calibration, measured = images_for(
            classifier, options_of(["bf16"], "minmax"), None, "test", 8
        )
        assert measured.labels is None
        assert calibration is measured


@pytest.mark.slow
@pytest.mark.parametrize("calibration", ["entropy", "percentile"])
def test_ranges_can_be_read_in_other_ways(
    calibration: str, made: tuple[Quantized, Classifier], tmp_path: Path
) -> None:
    _, classifier = made
    images = labelled(classifier)
    options = QuantizeOptions(("static",), calibration)
    found = quantize(classifier, tmp_path, options, images, images)
    assert found.rows[-1].same_class > 0.8


@pytest.mark.slow
def test_weights_have_7_bits_on_request(made: tuple[Quantized, Classifier], tmp_path: Path) -> None:
    _, classifier = made
    images = labelled(classifier)
    quantize(classifier, tmp_path, QuantizeOptions(("static",), reduce_range=True), images, images)
    model = onnx.load(tmp_path / "int8-static.onnx")
    weights = [one for one in model.graph.initializer if len(one.dims) == 4]
    largest = max(np.abs(onnx.numpy_helper.to_array(one).astype(int)).max() for one in weights)
    assert 32 < largest <= 64
