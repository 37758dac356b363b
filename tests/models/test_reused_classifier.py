from functools import partial

import pytest
import torch

from kdsweep.models.cifar_resnet import ResNet
from kdsweep.models.convnet4 import ConvNet4
from kdsweep.models.mlp import MLP
from kdsweep.models.reused_classifier import ReusedClassifier
from kdsweep.models.vgg import VGG

TASK = {"in_shape": (3, 32, 32), "num_classes": 5}


def node(model, embedding="pool", **options):
    return {"model": partial(model, **options), "features": {"embedding": embedding}}


@pytest.mark.parametrize(
    ("network", "channels"),
    [(node(ResNet, depth=8), 64), (node(VGG, depth=8, width=0.125, max_pools=3), 64)],
)
def test_the_projector_goes_from_the_last_map_to_the_teachers_channels(network, channels):
    model = ReusedClassifier(**TASK, network=network, channels=24, factor=4)
    shapes = [tuple(layer[0].weight.shape) for layer in model.projector]
    assert shapes == [(6, channels, 1, 1), (6, 6, 3, 3), (24, 6, 1, 1)]
    assert model(torch.rand(2, *TASK["in_shape"])).shape == (2, 5)
    assert model.training
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == [
        "head.weight",
        "head.bias",
    ]


@pytest.mark.parametrize(
    "network", [node(MLP, "hidden2", width=8), node(ConvNet4, "stage2", width=8)]
)
def test_networks_that_average_no_map_are_refused(network):
    sentence = "network must be one that averages its last map in features.embedding, got"
    with pytest.raises(ValueError, match=sentence):
        ReusedClassifier((1, 16, 16), 5, network=network, channels=8)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"channels": 0}, "channels must be an integer > 0, got 0"),
        ({"channels": 8, "factor": 0}, "factor must be an integer > 0, got 0"),
        ({"channels": 8, "factor": 9}, "factor must be at most channels, 8, got 9"),
    ],
)
def test_wrong_options_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        ReusedClassifier(**TASK, network=node(ResNet, depth=8), **options)
