"""The BatchNorm in front of a feature: the one that the published codes take margins from."""

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from kdsweep.losses.base.batch_norms import batch_norm_of
from kdsweep.models.bottleneck_resnet import BottleneckResNet
from kdsweep.models.cifar_resnet import ResNet
from kdsweep.models.mobilenetv2 import MobileNetV2
from kdsweep.models.vgg import VGG
from kdsweep.models.wide_resnet import WideResNet

TASK = ((3, 32, 32), 10)


@pytest.mark.parametrize(
    ("build", "feature", "expected"),
    [
        (lambda: ResNet(*TASK, depth=20), "stage1:before_relu:train", "stage1.2.bn2"),
        (lambda: ResNet(*TASK, depth=8), "stage2:before_relu", "stage2.0.bn2"),  # not a shortcut's
        (lambda: ResNet(*TASK, depth=20), "stage1", None),  # after the ReLU
        (lambda: BottleneckResNet(*TASK), "stage1:before_relu", "stage1.2.residual.2.1"),
        (lambda: WideResNet(*TASK), "stage3.0.bn1", "stage3.0.bn1"),
        (lambda: WideResNet(*TASK), "last.0", "last.0"),
        (lambda: WideResNet(*TASK), "stage1", None),  # ends in a convolution
        (lambda: VGG(*TASK, depth=13), "stage2:before_relu", "stage2.1.1"),
        (lambda: MobileNetV2(*TASK), "stage2", "stage2.2.residual.2.1"),
        (lambda: MobileNetV2(*TASK), "stage2:input", None),
        (resnet18, "layer2:before_relu", "layer2.1.bn2"),
    ],
)
def test_it_is_the_last_one_of_the_residual_branch(build, feature, expected):
    with torch.device("meta"):
        network = build()
    found = batch_norm_of(network, feature)
    assert found is (None if expected is None else network.get_submodule(expected))


def test_a_network_without_one_has_none():
    assert batch_norm_of(nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU()), "0") is None
