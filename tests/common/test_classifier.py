import pytest
from torch import nn

from kdsweep.common.classifier import classifier_of


def test_the_last_linear_layer_is_the_classifier():
    network = nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.Linear(3, 2), nn.Dropout()))
    assert classifier_of(network) is network[1][0]
    with pytest.raises(ValueError, match="must have a linear layer as its classifier"):
        classifier_of(nn.Conv2d(1, 1, 1))
