"""Networks of transformers from local folders with random weights; nothing is downloaded."""

import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hf_folders import (
    PATCH,
    SIZES,
    WIDTH,
    transformers,
    write_clip,
    write_dinov2,
    write_preprocessing,
    write_resnet,
    write_vit,
)
from safetensors.torch import save_file

from kdsweep.builders.instantiate import instantiate_node
from kdsweep.models.components.embedding_output import gives_logits
from kdsweep.models.components.feature_extractor import FeatureExtractor
from kdsweep.models.components.input_normalization import EXPECTED
from kdsweep.models.components.trained_view import ATTRIBUTE, View
from kdsweep.models.hf_features import hf_features
from kdsweep.models.hf_folder import read_architecture
from kdsweep.models.hf_model import HuggingFace, blueprint, described, weights_for, weights_in

SHAPE = (3, 32, 32)
TARGET = "kdsweep.models.hf_model.HuggingFace"


def test_without_transformers_the_error_names_the_package_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    sentence = r"transformers cannot be imported .*: pip install 'kdsweep\[hf\]'"
    with pytest.raises(ValueError, match=sentence):
        HuggingFace(SHAPE, 4, path=str(tmp_path))


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def vit(tmp_path: Path) -> Any:
    """The folder of a classifier of 4 classes, and that classifier."""
    return tmp_path, write_vit(tmp_path)


def test_with_its_weights_it_has_the_logits_of_the_saved_network(vit: Any, images: Any) -> None:
    folder, saved = vit
    model = HuggingFace(SHAPE, 4, path=str(folder)).eval()
    model.load_state_dict(weights_in(str(folder)))
    with torch.no_grad():
        assert torch.equal(model(images), saved(images).logits)


def test_a_description_builds_the_same_network_without_the_folder(vit: Any, images: Any) -> None:
    folder, saved = vit
    node = described({"_target_": TARGET, "path": str(folder), "normalize": "weights"})
    assert "path" not in node
    assert described(node) == node
    for path in folder.iterdir():
        path.unlink()
    model = instantiate_node(node, "student.model", in_shape=SHAPE, num_classes=4).eval()
    model.load_state_dict(saved.state_dict())
    assert isinstance(copy.deepcopy(model), type(saved))
    with torch.no_grad():
        assert torch.equal(model(images), saved(images).logits)
    assert getattr(model, EXPECTED).mean[0] == pytest.approx(0.48145466)


def test_channels_classes_and_size_are_those_of_the_data(vit: Any) -> None:
    model = HuggingFace((1, 16, 24), 7, path=str(vit[0]))
    assert model(torch.rand(2, 1, 16, 24)).shape == (2, 7)


def test_the_view_of_its_weights_is_that_of_the_preprocessing(vit: Any) -> None:
    write_preprocessing(vit[0], resample=3)
    model = HuggingFace(SHAPE, 4, path=str(vit[0]), normalize="weights")
    assert getattr(model, ATTRIBUTE) == View((32, 32), "bicubic", 1.0)
    assert not hasattr(HuggingFace(SHAPE, 4, path=str(vit[0])), ATTRIBUTE)  # random weights


def test_building_is_seeded(vit: Any) -> None:
    def built() -> torch.Tensor:
        torch.manual_seed(3)
        model = HuggingFace(SHAPE, 4, path=str(vit[0]))
        return torch.nn.utils.parameters_to_vector(model.parameters())

    assert torch.equal(built(), built())


@pytest.mark.parametrize("head", [True, False])
@pytest.mark.parametrize("write", [write_vit, write_resnet, write_dinov2, write_clip])
def test_the_features_of_its_architecture_are_there(
    tmp_path: Path, images: Any, write: Any, head: bool
) -> None:
    write(tmp_path)
    model = HuggingFace(SHAPE, 4, path=str(tmp_path), head=head).eval()
    offered = hf_features(read_architecture(tmp_path), head)
    assert offered.maps is not None
    with torch.no_grad():
        output = FeatureExtractor(model, {*offered.maps, offered.embedding, offered.hint})(images)
    assert output.logits.shape == (2, 4 if head else 0)
    assert gives_logits(model) is head
    for name in offered.maps:
        feature = output.features[name]
        assert feature.dim() == (4 if write is write_resnet else 3)
    assert output.features[offered.embedding].dim() in (2, 4)
    assert len(output.features[offered.embedding]) == 2


FOUR = {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}
ARCHITECTURES = {
    **dict.fromkeys(("deit", "beit", "dinov2_with_registers", "dinov3_vit"), SIZES),
    **dict.fromkeys(("convnext", "convnextv2"), FOUR),
    "regnet": {**FOUR, "embedding_size": 8, "groups_width": 8},
    "siglip": {"vision_config": SIZES},
    "swinv2": {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4},
}


@pytest.mark.parametrize("head", [True, False])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_features_of_further_architectures_are_there(
    images: Any, name: str, head: bool
) -> None:
    transformers()
    if name == "dinov3_vit" and head:
        pytest.skip("transformers has it as a tower alone")
    architecture = {"model_type": name, **ARCHITECTURES[name]}
    model = HuggingFace(SHAPE, 4, architecture=architecture, head=head).eval()
    offered = hf_features(architecture, head)
    assert (offered.maps is None) == (name == "swinv2")
    names = {*(offered.maps or ()), offered.embedding}
    with torch.no_grad():
        output = FeatureExtractor(model, names)(images)
    assert {output.features[path].dim() for path in offered.maps or ()} <= (
        {3} if ARCHITECTURES[name] is SIZES or name == "siglip" else {4}
    )
    assert len(output.features[offered.embedding]) == 2


def test_the_embedding_of_clip_is_what_its_texts_are_compared_with(
    tmp_path: Path, images: Any
) -> None:
    saved = write_clip(tmp_path)
    tower = HuggingFace(SHAPE, 4, path=str(tmp_path), head=False).eval()
    tower.load_state_dict(weights_in(str(tmp_path), head=False))
    with torch.no_grad():
        found = FeatureExtractor(tower, ["embedding"])(images).features["embedding"]
        expected = saved.get_image_features(pixel_values=images)
    expected = getattr(expected, "pooler_output", expected)
    torch.testing.assert_close(found, expected)


def test_the_embedding_of_a_classifier_is_its_class_token(tmp_path: Path, images: Any) -> None:
    saved = write_vit(tmp_path)
    tower = HuggingFace(SHAPE, 4, path=str(tmp_path), head=False).eval()
    tower.load_state_dict(weights_in(str(tmp_path), head=False))
    with torch.no_grad():
        found = FeatureExtractor(tower, ["embedding"])(images).features["embedding"]
        expected = FeatureExtractor(saved, ["classifier:input"])._forward(images)[1]
    torch.testing.assert_close(found, expected["classifier:input"])


def test_zero_shot_logits_are_those_of_clip(tmp_path: Path, images: Any) -> None:
    saved = write_clip(tmp_path)
    words = torch.arange(12).view(3, 4) % 20
    with torch.no_grad():
        texts = saved.get_text_features(input_ids=words)
        expected = saved(input_ids=words, pixel_values=images).logits_per_image
    file, scale = str(tmp_path / "texts.safetensors"), saved.logit_scale.exp().item()
    embeddings = getattr(texts, "pooler_output", texts).contiguous()
    names = {"classes": '["a", "b", "c"]', "logit_scale": str(scale)}
    save_file({"embeddings": embeddings}, file, names)
    node = {"_target_": TARGET, "path": str(tmp_path), "texts": file}
    kept = {key: value for key, value in described(node).items() if key != "_target_"}
    assert kept["classes"] == ["a", "b", "c"]
    model = HuggingFace(SHAPE, 3, **kept).eval()
    model.load_state_dict(weights_for(node, str(tmp_path)))
    with torch.no_grad():
        torch.testing.assert_close(copy.deepcopy(model)(images), expected)
    with pytest.raises(ValueError, match="head must be true with texts"):
        HuggingFace(SHAPE, 3, **kept, head=False)


def test_a_tower_has_no_weights_for_a_head(tmp_path: Path) -> None:
    saved = write_dinov2(tmp_path)
    found = weights_in(str(tmp_path))
    assert set(found) == {f"dinov2.{name}" for name in saved.state_dict()}
    assert found["dinov2.layernorm.weight"].shape == (WIDTH,)


def test_pickled_weights_are_not_read(vit: Any) -> None:
    folder, saved = vit
    (folder / "model.safetensors").unlink()
    torch.save(saved.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="must be a folder with weights of this network in safet"):
        weights_in(str(folder))


def test_code_in_a_folder_is_not_run(vit: Any, images: Any) -> None:
    folder, saved = vit
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForImageClassification": "mine.Network"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text(f"open({str(folder / 'run')!r}, 'w')\nclass Network: pass\n")
    model = HuggingFace(SHAPE, 4, path=str(folder)).eval()
    model.load_state_dict(weights_in(str(folder)))
    with torch.no_grad():
        assert torch.equal(model(images), saved(images).logits)
    assert not (folder / "run").exists()


def test_a_config_names_no_implementation_of_attention(vit: Any) -> None:
    """It could be one that transformers downloads and runs."""
    architecture = read_architecture(vit[0]) | {"attn_implementation": "someone/kernels"}
    config = blueprint(architecture, True, SHAPE, 4).config
    assert config._attn_implementation in (None, "sdpa", "eager")


@pytest.mark.parametrize(
    ("architecture", "sentence"),
    [
        ({"model_type": "mine"}, "architecture must be one that transformers .* has, got mine"),
        ({"model_type": "bert"}, "architecture must be one that transformers has for Image"),
        ({"model_type": "vit", "hidden_size": 10}, "vit cannot take images of 32 x 32"),
    ],
)
def test_other_architectures_are_refused(architecture: dict[str, Any], sentence: str) -> None:
    transformers()
    with pytest.raises(ValueError, match=f"^{sentence}"):
        HuggingFace(SHAPE, 4, architecture=architecture)


def test_a_path_must_be_given() -> None:
    with pytest.raises(ValueError, match=r"^path must be given"):
        HuggingFace(SHAPE, 4)


def test_images_smaller_than_a_patch_are_refused(vit: Any) -> None:
    side = PATCH // 2
    with pytest.raises(ValueError, match=f"vit cannot take images of {side} x {side}"):
        HuggingFace((3, side, side), 4, path=str(vit[0]))
