import pytest
import torch

from kdsweep.models.shufflenetv1 import ShuffleNetV1, ShuffleUnit


@pytest.mark.usefixtures("meta_device")
def test_parameters_are_those_of_the_distillation_tables():
    model = ShuffleNetV1((3, 32, 32), num_classes=100)
    assert sum(p.numel() for p in model.parameters()) == 949_258


def test_a_halving_unit_keeps_the_average_of_its_input_as_the_last_channels():
    unit, maps = ShuffleUnit(24, 60, stride=2), torch.rand(2, 24, 8, 8)
    averaged = torch.nn.functional.avg_pool2d(maps, 3, stride=2, padding=1)
    assert torch.equal(unit(maps)[:, -24:], averaged)


@pytest.mark.usefixtures("meta_device")
@pytest.mark.parametrize("width", [0.15, 0.3, 0.33, 1.5])
def test_every_width_splits_into_groups(width):
    model = ShuffleNetV1((3, 8, 8), num_classes=10, width=width).eval()
    assert model(torch.rand(1, 3, 8, 8)).shape == (1, 10)


def test_too_narrow_stages_are_refused():
    with pytest.raises(ValueError, match=r"width of shufflenetv1 must be at least 0.15, got 0.1"):
        ShuffleNetV1((3, 32, 32), num_classes=10, width=0.1)
