import pytest
import torch

from kdsweep.models.shufflenetv2 import ShuffleNetV2, SplitUnit


@pytest.mark.usefixtures("meta_device")
def test_parameters_are_those_of_the_distillation_tables():
    model = ShuffleNetV2((3, 32, 32), num_classes=100)
    assert sum(p.numel() for p in model.parameters()) == 1_355_528


def test_half_of_the_channels_go_through_a_unit_unchanged():
    """The shuffle deals them out: they are every second one afterwards."""
    maps = torch.rand(2, 8, 4, 4)
    assert torch.equal(SplitUnit(8)(maps)[:, ::2], maps[:, :4])


@pytest.mark.usefixtures("meta_device")
@pytest.mark.parametrize("width", [0.01, 0.3, 1.5])
def test_every_width_splits_in_two(width):
    model = ShuffleNetV2((3, 8, 8), num_classes=10, width=width).eval()
    assert model(torch.rand(1, 3, 8, 8)).shape == (1, 10)
