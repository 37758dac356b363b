"""A classifier as ONNX, as .pt2 and as a bundle, checked against its network."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from small_classifiers import CLASSES, MLP, small_classifier, small_manifest
from torch import Tensor, nn

from kdsweep.deploy.bundle import read_bundle
from kdsweep.deploy.classifier import Classifier
from kdsweep.deploy.evaluation_images import random_images
from kdsweep.deploy.export import export as module_of_export
from kdsweep.deploy.export.check import Check, compare
from kdsweep.deploy.export.export import ExportOptions, export, write_onnx
from kdsweep.deploy.export.graph import reason, trace
from kdsweep.deploy.export.onnx_file import to_onnx
from kdsweep.deploy.preprocessing import Preprocessing
from kdsweep.deploy.runtimes import normalized, onnx_runtime, torch_runtime
from kdsweep.errors import UserError

onnx = pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def plain(exported: Path) -> Path:
    """An ONNX file without preprocessing."""
    return exported / "deploy/model.onnx"


@pytest.fixture(scope="module")
def inside(classifier: Classifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One with the preprocessing inside."""
    path = tmp_path_factory.mktemp("inside") / "model.onnx"
    write_onnx(path, classifier, random_images(classifier), inside=True)
    return path


def signature(path: Path) -> list[tuple[str, list[object], int]]:
    graph = onnx.load(path).graph
    return [
        (info.name, [dim.dim_param or dim.dim_value for dim in kind.shape.dim], kind.elem_type)
        for info in (*graph.input, *graph.output)
        for kind in [info.type.tensor_type]
    ]


class TestOnnx:
    def test_it_takes_normalised_images_and_returns_logits(self, plain: Path) -> None:
        assert signature(plain) == [
            ("images", ["batch", 1, 8, 8], onnx.TensorProto.FLOAT),
            ("logits", ["batch", 3], onnx.TensorProto.FLOAT),
        ]

    def test_its_opset_is_the_one_asked_for(self, plain: Path, inside: Path) -> None:
        assert [onnx.load(path).opset_import[0].version for path in (plain, inside)] == [19, 20]

    @pytest.mark.parametrize("batch", [1, 3, 70])
    def test_it_has_the_logits_of_the_network_for_any_batch(
        self, plain: Path, classifier: Classifier, batch: int
    ) -> None:
        pixels = random_images(classifier, batch).images
        found = onnx_runtime(plain)(normalized(classifier.preprocessing, pixels))
        expected = classifier.logits_of_pixels(pixels).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-5)

    def test_with_the_preprocessing_inside_pixels_become_probabilities(
        self, inside: Path, classifier: Classifier
    ) -> None:
        assert signature(inside) == [
            ("images", ["batch", 8, 8, 1], onnx.TensorProto.UINT8),
            ("probabilities", ["batch", 3], onnx.TensorProto.FLOAT),
        ]
        pixels = random_images(classifier, 5).images
        found = onnx_runtime(inside)(pixels.permute(0, 2, 3, 1).numpy())
        predictions = classifier.predict(pixels)
        np.testing.assert_allclose(found, predictions.probabilities.numpy(), atol=1e-6)

    @pytest.mark.slow
    def test_with_the_preprocessing_inside_a_network_resizes_its_images(
        self, tmp_path: Path
    ) -> None:
        """Of a student whose images are smaller than the data set's."""
        preprocessing = Preprocessing(1, (8, 8), (0.3,), (0.4,), decode_size=(12, 10))
        manifest = small_manifest(preprocessing=preprocessing)
        classifier = small_classifier(tmp_path / "bundle", manifest)
        images = random_images(classifier, 5)
        assert images.images.shape[1:] == (1, 12, 10)
        write_onnx(tmp_path / "model.onnx", classifier, images, inside=True)
        assert signature(tmp_path / "model.onnx")[0][1] == ["batch", 12, 10, 1]
        found = onnx_runtime(tmp_path / "model.onnx")(images.images.permute(0, 2, 3, 1).numpy())
        expected = classifier.predict(images.images).probabilities.numpy()
        np.testing.assert_allclose(found, expected, atol=1e-5)

    def test_it_describes_classes_images_and_run(self, plain: Path, inside: Path) -> None:
        found = {one.key: one.value for one in onnx.load(plain).metadata_props}
        assert json.loads(found["classes"]) == list(CLASSES)
        assert (json.loads(found["mean"]), json.loads(found["std"])) == ([0.3], [0.4])
        assert json.loads(found["preprocessing"])["image_size"] == [8, 8]
        assert (found["run"], found["fingerprint"]) == ("kl T=4", "f" * 16)
        assert found["images"].startswith("float32 (batch, 1, 8, 8)")
        uint8 = {one.key: one.value for one in onnx.load(inside).metadata_props}["images"]
        assert uint8 == "uint8 (batch, 8, 8, 1), not normalised"

    def test_it_has_no_paths_of_this_machine(self, plain: Path) -> None:
        content = plain.read_bytes()
        for text in (b".py", b"stack_trace", str(Path.cwd()).encode(), b"site-packages"):
            assert text not in content


class Branching(nn.Linear):
    def forward(self, images: Tensor) -> Tensor:
        vectors = images.flatten(1)
        return super().forward(vectors * 2 if vectors.sum() > 0 else vectors)


class FixedBatch(nn.Linear):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.flatten(1)) + torch.zeros(len(images), 3)


class Untranslatable(nn.Linear):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.flatten(1)) + torch.linalg.svdvals(images)[:, 0, :3]


class TestRefusals:
    @pytest.mark.parametrize(
        ("network", "reason"),
        [
            (Branching, "torch.export can export: Could not guard on data-dependent expression"),
            (FixedBatch, "torch.export can export: its code takes the batch size for a constant"),
            pytest.param(
                Untranslatable,
                "torch.onnx can export: No ONNX function found for .*svd",
                marks=pytest.mark.slow,
            ),
        ],
    )
    def test_a_network_that_cannot_be_exported_is_refused_with_the_reason(
        self, network: type[nn.Linear], reason: str, classifier: Classifier
    ) -> None:
        module = network(64, 3).eval()
        with pytest.raises(UserError, match=f"^SOURCE must be a network that {reason}") as caught:
            to_onnx(trace(module, classifier.preprocessing, inside=False), "logits")
        assert "\n" not in str(caught.value)

    def test_the_reason_is_the_first_line_of_the_innermost_error(self) -> None:
        outer, inner = RuntimeError("step 3/3 failed\nmore"), ValueError("no svd\nmore")
        outer.__cause__ = inner
        assert reason(outer) == "no svd"

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"format": "pt3"}, "--format must be one of onnx, pt2, safetensors, got pt3"),
            ({"format": "safetensors", "inside": True}, "--preprocess must be left out"),
            ({"opset": 17}, "--opset must be from 18 to 23, got 17"),
        ],
    )
    def test_options_are_refused(self, options: dict[str, object], message: str) -> None:
        with pytest.raises(UserError, match=message):
            ExportOptions(**options)

    def test_without_onnx_the_error_names_the_extra(
        self, monkeypatch: pytest.MonkeyPatch, classifier: Classifier, tmp_path: Path
    ) -> None:
        monkeypatch.setitem(sys.modules, "onnx", None)
        options = ExportOptions(output=tmp_path / "model.onnx")
        with pytest.raises(UserError, match=r"pip install 'kdsweep\[deploy\]'"):
            export(classifier, options, random_images(classifier))

    @pytest.mark.ci
    @pytest.mark.parametrize("error", [0.01, float("nan")])
    def test_a_file_with_other_outputs_is_not_kept(
        self,
        error: float,
        classifier: Classifier,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def wrong(module: nn.Module):
            run = torch_runtime(module)
            return lambda images: run(images) + error

        monkeypatch.setattr(module_of_export, "torch_runtime", wrong)
        path = tmp_path / "model.pt2"
        path.write_text("an earlier export")
        with pytest.raises(UserError, match=r"differ by up to .* the file was not kept"):
            export(classifier, ExportOptions("pt2", path), random_images(classifier))
        assert [one.name for one in tmp_path.iterdir()] == ["model.pt2"]
        assert path.read_text() == "an earlier export"


class TestCheck:
    def test_another_class_of_one_image_is_too_much(self) -> None:
        check = Check("4 images", 4, 3, 1e-6, 1e-4, None, None)
        with pytest.raises(UserError, match="the same class for 3 of 4 images"):
            check.require("model.onnx")

    def test_logits_may_differ_by_1e_4_and_larger_ones_in_proportion(
        self, classifier: Classifier
    ) -> None:
        run = torch_runtime(classifier.module)
        images = random_images(classifier, 4)
        found = compare(classifier, lambda x: run(x) + 0.9e-4, images, inside=False)
        assert found.agrees
        assert found.allowed_difference == 1e-4
        assert not compare(classifier, lambda x: run(x) + 1.2e-4, images, inside=False).agrees

    def test_a_network_that_amplifies_rounding_may_differ_by_some_of_its_own(
        self, classifier: Classifier
    ) -> None:
        class Offset(nn.Module):
            """Logits with the rounding of much larger numbers: up to 2.4e-4 in float32."""

            def forward(self, images: Tensor) -> Tensor:
                return (images.flatten(1)[:, :3] + 4096) - 4096

        images = random_images(classifier, 64)
        offset = replace(classifier, module=Offset())

        def exact(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
            return inputs.reshape(len(inputs), -1)[:, :3]

        found = compare(offset, exact, images, inside=False)
        assert found.agrees
        assert 1e-4 < found.largest_difference < found.allowed_difference < 1.1e-3
        assert not compare(offset, lambda x: exact(x) + 2e-3, images, inside=False).agrees


def test_a_pt2_file_can_be_loaded_and_has_the_logits(tmp_path: Path) -> None:
    classifier = small_classifier(tmp_path / "bundle", small_manifest(MLP))
    options = ExportOptions("pt2", tmp_path / "model.pt2")
    found = export(classifier, options, random_images(classifier))
    assert found.check.largest_difference == 0
    module = torch.export.load(options.output).module()
    pixels = random_images(classifier, 3).images
    logits = module(classifier.preprocessing.normalize(pixels))
    torch.testing.assert_close(logits, classifier.logits_of_pixels(pixels))


def test_a_bundle_can_be_loaded_elsewhere(classifier: Classifier, tmp_path: Path) -> None:
    options = ExportOptions("safetensors", tmp_path / "bundle")
    found = export(classifier, options, random_images(classifier))
    assert found.check.largest_difference == 0
    assert found.num_bytes == sum(one.stat().st_size for one in (tmp_path / "bundle").iterdir())
    assert read_bundle(tmp_path / "bundle").classes == classifier.classes


def test_other_files_of_a_folder_stay_when_a_bundle_is_refused(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        module_of_export, "torch_runtime", lambda _: lambda x: np.zeros((len(x), 3))
    )
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="the file was not kept"):
        export(classifier, ExportOptions("safetensors", tmp_path), random_images(classifier))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
