"""Features of timm's networks by family: they are there, in the shapes that terms expect."""

import re

import pytest
import torch

from kdsweep.models.components.feature_extractor import FeatureExtractor
from kdsweep.models.timm_features import FAMILIES, timm_features
from kdsweep.models.timm_model import Timm

SIDE, PATCH_14 = 64, 56
# The smallest networks of the families, first those that are built in less than a second.
FAST = (
    *("vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "eva02_tiny_patch14_224"),
    *("resnet10t", "regnetx_002", "regnety_002", "convnext_atto", "convnextv2_atto"),
    *("mobilenetv2_035", "mobilenetv3_small_050", "mobilenetv4_conv_small_035"),
    *("tinynet_e", "efficientnet_lite0", "mobilevit_xxs", "mobilevitv2_050", "ghostnet_050"),
)
SLOW = (
    *("vit_small_patch14_dinov2", "vit_small_patch16_dinov3", "vit_base_patch32_clip_224"),
    *("deit_tiny_patch16_224", "deit3_small_patch16_224", "beit_base_patch16_224"),
    *(
        "vit_base_patch16_siglip_224",
        "vit_medium_patch16_gap_240",
        "vit_little_patch16_reg4_gap_256",
    ),
    *("mixer_s32_224", "mixer_b16_224", "levit_128s", "levit_conv_128s"),
    *("resnet18", "resnet50", "resnext50_32x4d", "seresnext26d_32x4d", "wide_resnet50_2"),
    *("mobilenetv3_large_075", "mobilenetv3_rw", "mobilenetv4_conv_medium"),
    *("mobilenetv4_hybrid_medium", "efficientnet_b0", "tf_efficientnetv2_b0"),
    *(
        "efficientnetv2_rw_t",
        "efficientnet_es",
        "efficientnetv2_s",
        "efficientnetv2_m",
        "fastvit_t8",
        "fastvit_sa12",
    ),
    *("swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256", "densenet121", "repvgg_a0"),
    *("vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"),
    *("mobilevit_s", "ghostnet_100", "regnetz_b16", "convnext_tiny", "ecaresnet26t", "res2net50d"),
)
HEADS_OF_TWO = ("deit_tiny_distilled_patch16_224", "levit_128s", "levit_conv_128s")


@pytest.mark.parametrize(
    "name", [*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
)
def test_a_network_has_the_features_of_its_family(name: str) -> None:
    timm = pytest.importorskip("timm")
    offered, side = timm_features(name), PATCH_14 if "patch14" in name else SIDE
    assert offered is not None
    assert offered.maps is not None
    assert offered.hint in (*offered.maps, offered.embedding)
    model = Timm(name, in_shape=(3, side, side), num_classes=5).eval()
    names = {*offered.maps, *(offered.before_relu or ()), offered.embedding}
    with torch.no_grad():
        output = FeatureExtractor(model, names)(torch.rand(2, 3, side, side))
    shapes = [output.features[path].shape for path in offered.maps]
    if len(shapes[0]) == 4:
        strides = [16, 32, 64] if name.startswith("levit") else [4, 8, 16, 32]
        assert [shape[2:] for shape in shapes] == [(side // s, side // s) for s in strides]
    else:
        assert all(len(shape) == 3 for shape in shapes)
        assert offered.maps[-1] == [path for path, _ in model.named_modules() if is_block(path)][-1]
    for before, after in zip(offered.before_relu or (), offered.maps, strict=False):
        assert torch.equal(output.features[before].relu(), output.features[after])
    vector = output.features[offered.embedding]
    assert vector.dim() == 2
    if name not in HEADS_OF_TWO:
        classifier = model.get_submodule(timm.get_pretrained_cfg(name).classifier)
        torch.testing.assert_close(classifier(vector), output.logits)


def is_block(path: str) -> bool:
    return re.fullmatch(r"(blocks|stages)\.\d+", path) is not None


@pytest.mark.parametrize(
    "name",
    [
        "resnet33ts",
        "resnet50_clip",
        "vit_small_patch16_36x1_224",
        "swinv2_cr_tiny_224",
        "resnetv2_50",
        "cait_xxs24_224",
    ],
)
def test_of_other_families_nothing_is_known(name: str) -> None:
    assert timm_features(name) is None


def test_a_tag_and_the_prefix_of_tensorflow_s_weights_make_no_difference() -> None:
    assert timm_features("resnet18.a1_in1k") == timm_features("resnet18")
    assert timm_features("tf_efficientnetv2_s.in21k") == timm_features("efficientnetv2_s")


def test_where_the_depth_is_not_known_the_embedding_is() -> None:
    found = timm_features("vit_7b_patch16_dinov3")
    assert found is not None
    assert (found.maps, found.embedding) == (None, "head_drop")


@pytest.mark.slow  # lists all networks of timm
def test_every_family_is_one_of_timm() -> None:
    names = [name.removeprefix("tf_") for name in pytest.importorskip("timm").list_models()]
    for pattern, _ in FAMILIES:
        assert any(re.fullmatch(pattern, name) for name in names), pattern


def test_the_pairs_of_a_term_need_no_module_paths(compose) -> None:
    from kdsweep.config.resolve import resolve_config

    words = ["student=timm", "student.model.name=mobilenetv3_small_050"]
    words += ["teacher=timm", "teacher.model.name=resnet18.a1_in1k"]
    assert pairs_of(resolve_config(compose("loss=fitnet", *words))) == [["blocks.1", "layer2"]]
    own = "student.features.maps=[blocks.0]"
    message = "loss.fitnet.pairs=${pairs:last_map}"
    found = resolve_config(compose("loss=fitnet", *words, own, message))
    assert pairs_of(found) == [["blocks.0", "layer4"]]


def pairs_of(config) -> list[list[str]]:
    return config.loss["fitnet"]["pairs"]
