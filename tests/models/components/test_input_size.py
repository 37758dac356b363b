"""Networks that resize the images they are given."""

import copy

import torch
from torchvision.transforms.v2 import functional as F

from kdsweep.models.cnn import CNN
from kdsweep.models.components.input_size import resize_input, resized_input

IMAGES = torch.rand(4, 3, 12, 16, generator=torch.Generator().manual_seed(0))


def network(size=None):
    torch.manual_seed(0)
    model = CNN((3, 8, 8), 10, width=4).eval()
    resize_input(model, size)
    return model


def test_equals_torchvision_with_antialiasing():
    expected = F.resize(IMAGES, [8, 8], antialias=True)
    torch.testing.assert_close(resized_input(IMAGES, (8, 8)), expected, rtol=0, atol=1e-6)


def test_a_network_is_given_its_size():
    small = resized_input(IMAGES, (8, 8))
    assert torch.equal(network((8, 8))(IMAGES), network()(small))
    assert torch.equal(copy.deepcopy(network((8, 8)))(IMAGES), network()(small))
    assert not torch.equal(network((8, 8))(IMAGES), network()(IMAGES))


def test_images_of_the_size_and_the_weights_are_as_they_were():
    small = resized_input(IMAGES, (8, 8))
    assert resized_input(small, (8, 8)) is small
    assert torch.equal(network((8, 8))(small), network()(small))
    assert network((8, 8)).state_dict().keys() == network().state_dict().keys()
