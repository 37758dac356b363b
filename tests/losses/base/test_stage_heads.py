"""The heads of stages: their layers. Their values are compared in losses/test_ofa.py."""

import pytest
import torch
from torch import nn

from kdsweep.losses.base.stage_heads import PatchMerging, TokenHead, map_head, patch_merging


def convolutions(head: nn.Module) -> list[tuple[int, ...]]:
    """(in, out, kernel, stride, groups) of each."""
    return [
        (conv.in_channels, conv.out_channels, *conv.kernel_size[:1], *conv.stride[:1], conv.groups)
        for conv in head.modules()
        if isinstance(conv, nn.Conv2d)
    ]


def test_a_head_of_maps_halves_for_each_later_stage_and_ends_in_the_width() -> None:
    head = map_head(4, stages_after=2, width=10, num_classes=5)
    first = [(4, 4, 3, 2, 4), (4, 4, 1, 1, 1), (4, 4, 3, 1, 4), (4, 8, 1, 1, 1)]
    second = [(8, 8, 3, 2, 8), (8, 8, 1, 1, 1), (8, 8, 3, 1, 8), (8, 10, 1, 1, 1)]
    assert convolutions(head) == first + second
    assert head(torch.rand(2, 4, 16, 12)).shape == (2, 5)
    assert convolutions(map_head(4, 0, 10, 5)) == [(4, 10, 1, 1, 1)]


@pytest.mark.parametrize(("after", "blocks"), [(3, 3), (1, 1), (0, 1)])
def test_a_head_of_tokens_has_a_block_for_each_later_stage(after: int, blocks: int) -> None:
    head = TokenHead((2, 17, 8), after, width=8, num_classes=5, prefix=1)
    assert len(head.blocks) == blocks
    assert head(torch.rand(2, 17, 8)).shape == (2, 5)


@pytest.mark.parametrize(
    ("patches", "grids"), [(4, []), (169, []), (196, [14]), (256, [16]), (784, [28, 14])]
)
def test_patches_are_merged_while_there_are_14_on_a_side(patches: int, grids: list[int]) -> None:
    merge = patch_merging(patches, dim=4, width=8)
    assert [layer.grid for layer in merge if isinstance(layer, PatchMerging)] == grids
    assert merge(torch.rand(2, patches, 4)).shape[1] == patches // 4 ** len(grids)


def test_merged_patches_are_neighbours() -> None:
    merging = PatchMerging(4, dim=1, width=4, activation=nn.Identity())
    merging.norm = nn.Identity()
    nn.init.eye_(merging.reduction.weight)
    merged = merging(torch.arange(16.0).view(1, 16, 1))
    # upper left, lower left, upper right, lower right
    assert merged[0].tolist() == [[0, 4, 1, 5], [2, 6, 3, 7], [8, 12, 9, 13], [10, 14, 11, 15]]


@pytest.mark.parametrize(
    ("tokens", "dim", "width", "sentence"),
    [
        (17, 8, 12, r"tokens must have the 12 dimensions of the embedding, .* got \(B, 17, 8\)"),
        (17, 6, 6, r"tokens must have the 6 dimensions .* a multiple of 4, got \(B, 17, 6\)"),
        (201, 8, 8, "tokens must be a square of patches whose side is .* 2, got 200 patches"),
        (226, 8, 8, "tokens must be a square of patches whose side is .* 2, got 225 patches"),
    ],
)
def test_tokens_that_no_head_takes_are_refused(tokens, dim, width, sentence) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}"):
        TokenHead((2, tokens, dim), 1, width, num_classes=5, prefix=1)


def test_heads_start_as_the_authors_do() -> None:
    """Convolutions He et al. 2015 by fan-out, linear layers 0.02 with bias zero."""
    torch.manual_seed(0)
    head = map_head(64, stages_after=1, width=128, num_classes=100)
    last = [conv for conv in head.modules() if isinstance(conv, nn.Conv2d)][-1]
    assert last.weight.std().item() == pytest.approx((2 / 128) ** 0.5, rel=0.03)
    tokens = TokenHead((2, 17, 64), 1, width=64, num_classes=100, prefix=1)
    for classifier in (head[-1], tokens.classifier, tokens.blocks[0].mlp.fc1):
        assert classifier.weight.std().item() == pytest.approx(0.02, rel=0.03)
        assert not classifier.bias.any()
