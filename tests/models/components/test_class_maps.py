"""Class activation maps of the families: their mean and the classifier's bias are the logits."""

import pytest
import torch

from kdsweep.models.bottleneck_resnet import BottleneckResNet
from kdsweep.models.cifar_resnet import ResNet
from kdsweep.models.components.feature_extractor import FeatureExtractor
from kdsweep.models.mobilenetv2 import MobileNetV2
from kdsweep.models.shufflenetv1 import ShuffleNetV1
from kdsweep.models.shufflenetv2 import ShuffleNetV2
from kdsweep.models.vgg import VGG
from kdsweep.models.wide_resnet import WideResNet

SMALL = {
    ResNet: {"depth": 8, "width": 0.25},
    WideResNet: {"depth": 10, "width": 0.25},
    BottleneckResNet: {"width": 0.1},
    VGG: {"depth": 8, "width": 0.1, "max_pools": 3},
    MobileNetV2: {"width": 0.1},
    ShuffleNetV1: {"width": 0.2},
    ShuffleNetV2: {"width": 0.1},
}


@pytest.mark.parametrize("family", SMALL)
def test_the_mean_of_the_maps_and_the_bias_are_the_logits(family):
    torch.manual_seed(0)
    model = family((3, 32, 32), 5, **SMALL[family]).double()
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    output = FeatureExtractor(model, ["pool:class_maps"])(images)
    mean = output.features["pool:class_maps"].mean(dim=(2, 3))
    torch.testing.assert_close(mean + model.head.bias, output.logits)
