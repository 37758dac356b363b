"""Vision transformers: equal to timm's, which are DeiT's, and the logits of two heads."""

import re

import pytest
import torch

from kdsweep.models.components.feature_extractor import FeatureExtractor
from kdsweep.models.vit import VisionTransformer

SMALL = {"patch": 8, "width": 24, "depth": 2, "heads": 3}


def build(distilled: bool = True, side: int = 32, **options) -> VisionTransformer:
    torch.manual_seed(0)
    options = SMALL | {"distillation_token": distilled} | options
    return VisionTransformer((3, side, side), 5, **options)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("distilled", [False, True])
def test_weights_names_and_logits_are_timms(images, distilled) -> None:
    timm = pytest.importorskip("timm")
    family = (
        timm.models.deit.VisionTransformerDistilled
        if distilled
        else timm.models.vision_transformer.VisionTransformer
    )
    size = {"img_size": 32, "patch_size": 8, "num_classes": 5}
    theirs = family(**size, embed_dim=24, depth=2, num_heads=3).double().eval()
    ours = build(distilled).double().eval()
    theirs.load_state_dict(ours.state_dict())
    torch.testing.assert_close(ours(images.double()), theirs(images.double()))


def test_by_default_the_logits_are_the_mean_of_both_heads(images) -> None:
    extractor = FeatureExtractor(build(), ["head", "head_dist"])
    for training in (False, True):
        extractor.model.train(training)
        output = extractor(images)
        heads = output.features["head"] + output.features["head_dist"]
        assert torch.equal(output.logits, heads / 2)


def test_in_distilled_training_they_are_those_of_the_class_head(images) -> None:
    model = build()
    before = model.eval()(images)
    model.set_distilled_training()
    assert torch.equal(model(images), before)
    output = FeatureExtractor(model.train(), ["head", "head_dist"])(images)
    assert torch.equal(output.logits, output.features["head"])
    assert not torch.equal(output.logits, output.features["head_dist"])
    model.set_distilled_training(False)
    assert torch.equal(model(images), before)


def test_without_a_token_there_is_no_distilled_training() -> None:
    model = build(distilled=False)
    assert not any("dist" in name for name in model.state_dict())
    with pytest.raises(ValueError, match="distillation_token must be true for distilled training"):
        model.set_distilled_training()


def test_the_size_of_deit_ti(meta_device) -> None:
    """Its paper has 5 million parameters; timm's deit_tiny_patch16_224 5,717,416."""
    model = VisionTransformer((3, 224, 224), 1000, patch=16)
    assert sum(p.numel() for p in model.parameters()) == 5_717_416
    model = VisionTransformer((3, 224, 224), 1000, patch=16, distillation_token=True)
    assert sum(p.numel() for p in model.parameters()) == 5_910_800


def test_images_need_not_be_square() -> None:
    model = VisionTransformer((1, 8, 12), 4, patch=4, width=8, depth=1, heads=2)
    assert model.pos_embed.shape == (1, 7, 8)
    assert model(torch.rand(2, 1, 8, 12)).shape == (2, 4)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"width": 25}, "width must be a multiple of heads=3, got 25"),
        ({"heads": 0}, "heads must be an integer > 0, got 0"),
        ({"depth": 1.5}, "depth must be an integer > 0, got 1.5"),
        ({"patch": 0}, "patch must be an integer > 0, got 0"),
        ({"patch": 5}, "vit with patch=5 needs images whose height and width are multiples of 5,"),
        ({"distillation_token": 1}, "distillation_token must be true or false, got 1"),
        ({"drop_path": 1}, "drop_path must be a number in [0, 1), got 1"),
    ],
)
def test_other_options_are_refused(options, sentence) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
        build(**options)


def test_stochastic_depth_rises_to_the_last_block_and_is_of_training_only(images) -> None:
    model = build(drop_path=0.5, depth=3)
    assert [block.drop_path.rate for block in model.blocks] == [0, 0.25, 0.5]
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))
    assert torch.equal(model(images), build(depth=3).eval()(images))
