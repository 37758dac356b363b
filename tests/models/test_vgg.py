import pytest
import torch
from torch import nn

from kdsweep.models.components.feature_extractor import FeatureExtractor
from kdsweep.models.vgg import VGG


@pytest.mark.usefixtures("meta_device")
def test_vgg16_has_thirteen_convolutions_and_one_linear_layer():
    modules = list(VGG((3, 32, 32), num_classes=10).modules())
    assert sum(isinstance(m, nn.Conv2d) for m in modules) == 13
    assert sum(isinstance(m, nn.BatchNorm2d) for m in modules) == 13
    assert sum(isinstance(m, nn.Linear) for m in modules) == 1


@pytest.mark.usefixtures("meta_device")
def test_vgg16_has_the_published_number_of_parameters():
    """Those of the VGG16 for CIFAR-10 that KD-pytorch took over."""
    model = VGG((3, 32, 32), num_classes=10)
    assert sum(p.numel() for p in model.parameters()) == 14_728_266


@pytest.mark.usefixtures("meta_device")
@pytest.mark.parametrize(
    ("depth", "parameters"),
    [(8, 3_965_028), (11, 9_277_284), (13, 9_462_180), (19, 20_086_692)],
)
def test_parameters_are_those_of_the_distillation_tables(depth, parameters):
    model = VGG((3, 32, 32), num_classes=100, depth=depth)
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_the_form_of_the_tables_keeps_maps_of_4x4_and_averages_them():
    model = VGG((3, 32, 32), num_classes=10, depth=8, width=0.125, max_pools=3).eval()
    features = FeatureExtractor(model, ["stage3", "stage4", "stage5", "pool"])(
        torch.rand(2, 3, 32, 32)
    ).features
    sides = [features[f"stage{number}"].shape[-1] for number in (3, 4, 5)]
    assert sides == [8, 4, 4]
    torch.testing.assert_close(features["pool"], features["stage5"].mean(dim=(2, 3)))


@pytest.mark.parametrize("max_pools", [0, 6, None])
def test_other_numbers_of_max_pools_are_refused(max_pools):
    with pytest.raises(ValueError, match="max_pools must be from 1 to 5, got"):
        VGG((3, 32, 32), num_classes=10, max_pools=max_pools)


@pytest.mark.usefixtures("meta_device")
def test_larger_images_fit_too():
    model = VGG((3, 48, 64), num_classes=10, width=0.125)
    assert model(torch.rand(2, 3, 48, 64)).shape == (2, 10)


@pytest.mark.parametrize("depth", [12, "16", None])
def test_other_depths_are_refused(depth):
    with pytest.raises(ValueError, match=r"depth must be one of \[8, 11, 13, 16, 19\], got"):
        VGG((3, 32, 32), num_classes=10, depth=depth)
