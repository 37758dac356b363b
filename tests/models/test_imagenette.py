import pytest
import torch

from kdsweep.models.components.feature_extractor import FeatureExtractor
from kdsweep.models.imagenette import AverageAndMaximum, PlainNet, ResidualNet
from kdsweep.models.torchvision_model import Torchvision

LARGE = (3, 224, 224)
MAPS = {
    "plain": ["stage1", "stage2", "stage3", "stage4", "stage5"],
    "residual": ["stem", "stage1", "stage2", "stage3", "stage4"],
    "resnet34": ["relu", "layer1", "layer2", "layer3", "layer4"],
}


@pytest.mark.usefixtures("meta_device")
@pytest.mark.parametrize(
    ("constructor", "parameters"), [(PlainNet, 14_438_602), (ResidualNet, 4_996_938)]
)
def test_parameters_follow_from_the_layers(constructor, parameters):
    """Convolutions of the plain one: 1,587,904; its linear layers: 12,845,568 and 5,130."""
    model = constructor(LARGE, num_classes=10)
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.usefixtures("meta_device")
def test_their_five_maps_have_the_shapes_of_resnet34():
    shapes = {}
    with torch.no_grad():
        networks = {
            "plain": PlainNet(LARGE, num_classes=10),
            "residual": ResidualNet(LARGE, num_classes=10),
            "resnet34": Torchvision("resnet34", LARGE, num_classes=10),
        }
        for name, network in networks.items():
            output = FeatureExtractor(network.eval(), MAPS[name])(torch.rand(1, *LARGE))
            shapes[name] = [tuple(feature.shape) for feature in output.features.values()]
    assert shapes["plain"] == shapes["residual"] == shapes["resnet34"]


@pytest.mark.usefixtures("meta_device")
@pytest.mark.parametrize("width", [0.5, 0.25])
@pytest.mark.parametrize("constructor", [PlainNet, ResidualNet])
def test_width_multiplies_channels_and_hidden_units(constructor, width):
    whole, narrow = (constructor((3, 64, 64), 10, width=factor) for factor in (1, width))
    assert narrow.hidden.in_features == width * whole.hidden.in_features
    assert narrow.head.in_features == width * whole.head.in_features


def test_average_and_maximum_are_concatenated():
    maps = torch.rand(2, 3, 4, 4)
    expected = torch.cat([maps.mean(dim=(2, 3)), maps.flatten(2).max(dim=2).values], dim=1)
    assert torch.equal(AverageAndMaximum()(maps), expected)
