"""Every family of networks can be exported, and has the same logits in ONNX Runtime."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hf_folders import SIZES
from small_classifiers import small_classifier, small_manifest

from kdsweep.common.conf import CONF
from kdsweep.deploy.evaluation_images import random_images
from kdsweep.deploy.export.export import ExportOptions, export
from kdsweep.deploy.preprocessing import Preprocessing

pytest.importorskip("onnx")

LIBRARIES = {"timm": "timm", "hf": "transformers"}  # of optional networks
COLOUR = Preprocessing(3, (32, 32), (0.5, 0.4, 0.3), (0.2, 0.2, 0.3))
LARGER = Preprocessing(3, (64, 64), (0.5, 0.4, 0.3), (0.2, 0.2, 0.3))
DIGITS = Preprocessing(1, (8, 8), (0.3,), (0.4,))
OF_TOKENS = {**SIZES, "image_size": 32}
OF_MAPS = {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}
TRANSFORMERS: list[dict[str, Any]] = [
    *({"model_type": name, **OF_TOKENS} for name in ("vit", "deit", "beit", "dinov2")),
    {"model_type": "clip", "vision_config": {**OF_TOKENS, "projection_dim": 12}},
    {"model_type": "siglip", "vision_config": OF_TOKENS},
    {"model_type": "resnet", "embedding_size": 8, **OF_MAPS},
    {"model_type": "convnextv2", **OF_MAPS},
]
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
    *(("hf", COLOUR, {"path": None, "architecture": each}) for each in TRANSFORMERS),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "preprocessing", "options"), NETWORKS)
def test_a_file_has_the_logits_of_the_network(
    name: str, preprocessing: Preprocessing, options: dict[str, Any], tmp_path: Path
) -> None:
    if name in LIBRARIES:
        pytest.importorskip(LIBRARIES[name])
    model = yaml.safe_load((CONF / "student" / f"{name}.yaml").read_text())["model"] | options
    manifest = small_manifest(model, preprocessing=preprocessing)
    classifier = small_classifier(tmp_path / "bundle", manifest)
    for form in ("onnx", "pt2") if name == "hf" else ("onnx",):
        target = ExportOptions(format=form, output=tmp_path / f"model.{form}")
        found = export(classifier, target, random_images(classifier, 64))
        assert found.check.same_class == 64
        assert found.check.largest_difference <= 1e-4
