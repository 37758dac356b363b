import pytest
import torch
from torch import nn

from kdsweep.models.vgg import VGG


def test_vgg16_has_thirteen_convolutions_and_one_linear_layer():
    modules = list(VGG((3, 32, 32), num_classes=10).modules())
    assert sum(isinstance(m, nn.Conv2d) for m in modules) == 13
    assert sum(isinstance(m, nn.BatchNorm2d) for m in modules) == 13
    assert sum(isinstance(m, nn.Linear) for m in modules) == 1


def test_vgg16_has_the_published_number_of_parameters():
    """Those of the VGG16 for CIFAR-10 that KD-pytorch took over."""
    model = VGG((3, 32, 32), num_classes=10)
    assert sum(p.numel() for p in model.parameters()) == 14_728_266


def test_larger_images_fit_too():
    model = VGG((3, 48, 64), num_classes=10, width=0.125)
    assert model(torch.rand(2, 3, 48, 64)).shape == (2, 10)


@pytest.mark.parametrize("depth", [12, "16", None])
def test_other_depths_are_refused(depth):
    with pytest.raises(ValueError, match=r"depth must be one of \[16\], got"):
        VGG((3, 32, 32), num_classes=10, depth=depth)
