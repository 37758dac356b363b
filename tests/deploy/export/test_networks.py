"""Every family of networks can be exported, and has the same logits in ONNX Runtime."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from small_classifiers import small_classifier, small_manifest

from kdsweep.common.conf import CONF
from kdsweep.deploy.evaluation_images import random_images
from kdsweep.deploy.export.export import ExportOptions, export
from kdsweep.deploy.preprocessing import Preprocessing

pytest.importorskip("onnx")

COLOUR = Preprocessing(3, (32, 32), (0.5, 0.4, 0.3), (0.2, 0.2, 0.3))
LARGER = Preprocessing(3, (64, 64), (0.5, 0.4, 0.3), (0.2, 0.2, 0.3))
DIGITS = Preprocessing(1, (8, 8), (0.3,), (0.4,))
NETWORKS: list[tuple[str, Preprocessing, dict[str, Any]]] = [
    ("cnn", DIGITS, {}),
    ("mlp", DIGITS, {}),
    ("convnet4", COLOUR, {}),
    ("resnet8x4", COLOUR, {}),
    ("wrn16_2", COLOUR, {}),
    ("vgg8", COLOUR, {}),
    ("mobilenetv2", COLOUR, {}),
    ("shufflenetv1", COLOUR, {}),
    ("shufflenetv2", COLOUR, {}),
    ("vit_tiny", COLOUR, {}),
    ("vit_tiny_distilled", COLOUR, {}),
    ("torchvision", LARGER, {"name": "resnet18", "normalize": "imagenet"}),
    ("torchvision", LARGER, {"name": "mobilenet_v3_small"}),
    ("timm", LARGER, {"name": "vit_tiny_patch16_224"}),
    ("timm", LARGER, {"name": "convnext_atto"}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "preprocessing", "options"), NETWORKS)
def test_onnx_has_the_logits_of_the_network(
    name: str, preprocessing: Preprocessing, options: dict[str, Any], tmp_path: Path
) -> None:
    if name == "timm":
        pytest.importorskip("timm")
    model = yaml.safe_load((CONF / "student" / f"{name}.yaml").read_text())["model"] | options
    manifest = small_manifest(model, preprocessing=preprocessing)
    classifier = small_classifier(tmp_path / "bundle", manifest)
    target = ExportOptions(output=tmp_path / "model.onnx")
    found = export(classifier, target, random_images(classifier, 64))
    assert found.check.same_class == 64
    assert found.check.largest_difference <= 1e-4
