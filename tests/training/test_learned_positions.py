"""Learned positions of a transformer that starts from weights for images of another size."""

from pathlib import Path

import pytest
import torch

from kdsweep.models.vit import VisionTransformer
from kdsweep.training.learned_positions import is_positions, resample, tokens_in_front
from kdsweep.training.weight_match import load_file_into


def positions(tokens: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(1, tokens, 6, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("own", "given", "number"), [(5, 17, 1), (16, 4, 0), (66, 198, 2)])
def test_tokens_in_front_of_the_patches_keep_their_positions(
    own: int, given: int, number: int
) -> None:
    before = positions(given)
    after = resample(positions(own, seed=1), before)
    assert after.shape == (1, own, 6)
    assert tokens_in_front(positions(own), before) == number
    assert torch.equal(after[:, :number], before[:, :number])


@pytest.mark.parametrize(
    "given", [None, positions(5), positions(7), torch.zeros(1, 17, 4), torch.zeros(17)]
)
def test_others_are_not_resampled(given: torch.Tensor | None) -> None:
    assert tokens_in_front(positions(5), given) is None


def test_it_is_timm_s() -> None:
    layers = pytest.importorskip("timm.layers")
    before = positions(1 + 14 * 14)
    expected = layers.resample_abs_pos_embed(before, [8, 8], num_prefix_tokens=1)
    torch.testing.assert_close(resample(positions(65), before), expected)


def vit(size: int, classes: int = 3) -> VisionTransformer:
    return VisionTransformer((1, size, size), num_classes=classes, width=6, depth=1)


def test_a_start_may_be_of_images_of_another_size(tmp_path: Path) -> None:
    path, model = tmp_path / "model.pt", vit(8)
    given = vit(16).state_dict()
    torch.save(given, path)
    line = load_file_into(model, str(path), resamples=True)
    assert line == f"read {path}, 'pos_embed' resampled to 5 positions from 17"
    assert torch.equal(model.pos_embed, resample(model.pos_embed, given["pos_embed"]))
    with pytest.raises(ValueError, match=r"has 'pos_embed' of shape \(1, 17, 6\)"):
        load_file_into(vit(8), str(path))


def test_only_positions_are_such() -> None:
    named = vit(8).state_dict().items()
    assert [name for name, tensor in named if is_positions(name, tensor)] == ["pos_embed"]
