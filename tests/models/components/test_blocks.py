import pytest
import torch

from kdsweep.models.components.blocks import ChannelShuffle, scaled


def test_a_shuffle_deals_the_channels_out_over_the_groups():
    maps = torch.arange(6.0).reshape(1, 6, 1, 1)
    assert ChannelShuffle(2)(maps).flatten().tolist() == [0, 3, 1, 4, 2, 5]
    assert ChannelShuffle(3)(maps).flatten().tolist() == [0, 2, 4, 1, 3, 5]


@pytest.mark.parametrize(
    ("channels", "width", "multiple", "expected"),
    [
        (64, 1.0, 1, 64),
        (64, 0.3, 1, 19),
        (64, 0.001, 1, 1),
        (240, 0.3, 12, 72),
        (240, 0.01, 12, 12),
    ],
)
def test_scaled_channels_are_whole_multiples_and_never_none(channels, width, multiple, expected):
    assert scaled(channels, width, multiple) == expected
