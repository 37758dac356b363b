import pytest
import torch
import torch.nn.functional as F

from kdsweep.losses.review import Fusion, Review, hierarchical_distance


def test_golden_value_of_the_distance(golden):
    value = hierarchical_distance(golden.fs, golden.ft3)
    assert value.item() == pytest.approx(0.4062697809, abs=1e-9)


def test_maps_of_one_position_are_compared_as_they_are(golden):
    one = golden.fs[:, :, :1, :1], golden.ft3[:, :, :1, :1]
    torch.testing.assert_close(hierarchical_distance(*one), F.mse_loss(*one))


def test_the_deepest_level_is_not_fused(case, golden):
    made = case(Review, [golden.es], [golden.et])
    (fusion,) = made.term.links
    as_map = golden.es[:, :, None, None]
    expected = F.mse_loss(fusion.leave(fusion.enter(as_map)), golden.et[:, :, None, None])
    torch.testing.assert_close(made.value(), expected)
    assert fusion.attend is None


def test_a_level_is_mixed_with_the_one_below_by_two_attention_maps():
    torch.manual_seed(0)
    fusion = Fusion(3, 5, 6, fuses=True)
    maps, below = torch.randn(2, 3, 4, 4), torch.randn(2, 5, 2, 2)
    compared, fused = fusion(maps, below, (8, 8))
    fs = fusion.enter(maps)
    ft = below.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    weights = torch.sigmoid(fusion.attend(torch.cat([fs, ft], dim=1)))
    mixed = fs * weights[:, :1] + ft * weights[:, 1:]
    larger = mixed.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    torch.testing.assert_close(fused, larger)
    torch.testing.assert_close(compared, fusion.leave(larger))


def test_every_level_comes_in_the_teachers_shape_from_common_channels(case, golden):
    made = case(
        Review, [golden.fs, golden.fs[:, :2, :2, :2], golden.es], [golden.ft, golden.ft2, golden.et]
    )
    shapes = [
        (f.enter[0].in_channels, f.enter[0].out_channels, f.leave[0].out_channels)
        for f in made.term.links
    ]
    assert shapes == [(3, 3, 6), (2, 3, 6), (3, 3, 6)]
    assert [f.attend is not None for f in made.term.links] == [True, True, False]
    assert torch.isfinite(made.value())


def test_tokens_are_refused(case, golden):
    tokens = golden.fs.flatten(2)
    with pytest.raises(ValueError, match="features must be maps or vectors, got"):
        case(Review, [tokens], [tokens])
