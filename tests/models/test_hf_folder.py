"""What a folder of transformers describes, from its JSON alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from kdsweep.models.hf_features import hf_features
from kdsweep.models.hf_folder import (
    num_labels,
    read_architecture,
    read_preprocessing,
    refuse_other_libraries,
)

VIT = {"model_type": "vit", "hidden_size": 8, "num_hidden_layers": 4}
EDGE = {"size": {"shortest_edge": 256}}
IMAGENET = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}


def folder(tmp_path: Path, config: Any, preprocessing: Any = None) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(config))
    if preprocessing is not None:
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(preprocessing))
    return tmp_path


def test_names_of_classes_and_versions_are_no_part_of_an_architecture(tmp_path: Path) -> None:
    more = {
        **{"id2label": {"0": "cat", "1": "dog", "2": "owl"}, "transformers_version": "5.0"},
        **{"torch_dtype": "float16", "auto_map": {"AutoModel": "mine.Network"}},
        "vision_config": {"hidden_size": 8, "_name_or_path": "elsewhere"},
    }
    path = folder(tmp_path, VIT | more)
    assert read_architecture(path) == VIT | {"vision_config": {"hidden_size": 8}}
    assert num_labels(path) == 3


@pytest.mark.parametrize(
    ("given", "size", "crop_pct"),
    [
        ({"size": 224}, [224, 224], 1),
        ({"size": {"height": 160, "width": 96}}, [160, 96], 1),
        ({**EDGE, "crop_size": 224, "do_center_crop": True}, [224, 224], 0.875),
        ({**EDGE, "crop_size": 224, "do_center_crop": False}, [256, 256], 1),
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.9}, [224, 224], 0.9),
        ({"size": {"shortest_edge": 384}, "crop_pct": 0.9}, [384, 384], 1),
        ({"size": 224, "do_resize": False}, [224, 224], None),
        ({}, None, None),
    ],
)
def test_the_size_is_that_of_the_images_that_reach_the_network(
    tmp_path: Path, given: dict[str, Any], size: list[int] | None, crop_pct: float | None
) -> None:
    found = read_preprocessing(folder(tmp_path, VIT, IMAGENET | given))
    normalization = {"mean": IMAGENET["image_mean"], "std": IMAGENET["image_std"]}
    view = {"size": size, "interpolation": None, "crop_pct": crop_pct}
    assert found == normalization | view


@pytest.mark.parametrize(("number", "name"), [(3, "bicubic"), (2, "bilinear"), (9, None)])
def test_the_interpolation_is_that_of_pillow(tmp_path: Path, number: int, name: str | None) -> None:
    found = read_preprocessing(folder(tmp_path, VIT, IMAGENET | {"resample": number}))
    assert found is not None
    assert found["interpolation"] == name


@pytest.mark.parametrize(
    ("given", "mean", "std"),
    [
        ({"do_normalize": False}, [0.0] * 3, [1.0] * 3),
        # (2 x - 0.5) / 0.2 = (x - 0.25) / 0.1
        ({"rescale_factor": 2 / 255}, [0.25, 0.2, 0.15], [0.1, 0.15, 0.2]),
        ({"rescale_factor": 0.00392156862745098}, [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]),
    ],
)
def test_mean_and_std_are_those_of_pixels_in_0_to_1(
    tmp_path: Path, given: dict[str, Any], mean: list[float], std: list[float]
) -> None:
    found = read_preprocessing(folder(tmp_path, VIT, IMAGENET | given))
    assert found is not None
    assert found["mean"] == pytest.approx(mean)
    assert found["std"] == pytest.approx(std)


def test_a_processor_of_images_and_texts_has_that_of_images_inside(tmp_path: Path) -> None:
    folder(tmp_path, VIT)
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": IMAGENET}))
    found = read_preprocessing(tmp_path)
    assert found is not None
    assert found["mean"] == [0.5, 0.4, 0.3]


def test_without_a_file_there_is_no_preprocessing(tmp_path: Path) -> None:
    assert read_preprocessing(folder(tmp_path, VIT)) is None


@pytest.mark.parametrize(
    ("config", "preprocessing", "reason"),
    [
        (None, None, "which has no config.json"),
        ("{", None, r"whose config\.json cannot be read"),
        ("[]", None, r"whose config\.json is no mapping"),
        ("{}", None, r"whose config\.json names no model_type"),
        (json.dumps(VIT), '{"image_mean": 3}', "has no image_mean"),
        (json.dumps(VIT), '{"rescale_offset": true}', "shifts pixels"),
    ],
)
def test_other_folders_are_refused(
    tmp_path: Path, config: str | None, preprocessing: str | None, reason: str
) -> None:
    for name, text in (("config.json", config), ("preprocessor_config.json", preprocessing)):
        if text is not None:
            (tmp_path / name).write_text(text)
    sentence = f"^path must be a folder that save_pretrained .*{reason}"
    with pytest.raises(ValueError, match=sentence):
        (read_architecture if preprocessing is None else read_preprocessing)(tmp_path)


def test_a_folder_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="got nowhere, which does not exist"):
        read_architecture("nowhere")


@pytest.mark.parametrize(
    ("architecture", "has_head", "last_map", "embedding"),
    [
        (VIT, True, "vit.layers.3", "classifier:input"),
        (VIT, False, "layers.3", "embedding"),
        (
            {"model_type": "clip", "vision_config": {"num_hidden_layers": 6}},
            False,
            "vision_model.encoder.layers.5",
            "embedding",
        ),
        ({"model_type": "convnext"}, True, "convnext.encoder.stages.3", "classifier:input"),
    ],
)
def test_features_by_architecture(
    architecture: dict[str, Any], has_head: bool, last_map: str, embedding: str
) -> None:
    found = hf_features(architecture, has_head)
    assert found.maps is not None
    assert len(found.maps) == 4
    assert found.maps[-1] == last_map
    assert found.embedding == embedding


def test_of_other_architectures_the_embedding_alone_is_known() -> None:
    found = hf_features({"model_type": "swin"}, True)
    assert (found.maps, found.embedding) == (None, "classifier:input")


@pytest.mark.parametrize(
    "given",
    [
        {"rescale_factor": None},
        {"image_processor": "X"},
        {"size": {"height": None, "width": None}},
        {"image_std": [0, 0, 0]},
        {"image_mean": []},
    ],
)
def test_a_preprocessing_that_is_none_is_refused(tmp_path: Path, given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="path must be a folder that save_pretrained has written"):
        read_preprocessing(folder(tmp_path, VIT, IMAGENET | given))


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "timm_wrapper", "architecture": "hf-hub:timm/resnet10t.c3_in1k"},
        {"model_type": "rt_detr", "backbone": "owner/name"},
        {"model_type": "rt_detr", "backbone_config": {"model_type": "timm_backbone"}},
    ],
)
def test_networks_that_are_loaded_by_their_name_are_refused(config: dict[str, Any]) -> None:
    refuse_other_libraries(VIT | {"vision_config": {"backbone": None}})
    with pytest.raises(ValueError, match="must be built by transformers alone"):
        refuse_other_libraries(config)
