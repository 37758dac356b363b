"""Conversion of the data set's normalisation to the one that a network expects."""

import copy

import pytest
import torch
from torch import nn

from kdsweep.models.cnn import CNN
from kdsweep.models.components.feature_extractor import FeatureExtractor
from kdsweep.models.components.input_normalization import (
    IMAGENET,
    Normalization,
    adapt_input,
    set_expected,
)

SHAPE = (3, 8, 8)
PIXELS = torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(0))
OF_DATA = Normalization((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616))


def normalised(pixels: torch.Tensor, normalisation: Normalization) -> torch.Tensor:
    mean, std = (torch.tensor(numbers)[:, None, None] for numbers in normalisation)
    return (pixels - mean) / std


def network() -> nn.Module:
    torch.manual_seed(0)
    return CNN(SHAPE, 10, width=4).eval()


def test_an_adapted_network_has_the_logits_of_its_own_normalisation():
    adapted = network()
    set_expected(adapted, None, SHAPE, of_weights=IMAGENET)
    adapt_input(adapted, *OF_DATA)
    logits = adapted(normalised(PIXELS, OF_DATA))
    torch.testing.assert_close(logits, network()(normalised(PIXELS, IMAGENET)))


@pytest.mark.parametrize(
    ("normalize", "of_weights"), [(None, None), ("dataset", IMAGENET), ("imagenet", None)]
)
def test_there_is_no_adapter_where_nothing_differs(normalize, of_weights):
    """Without weights, with ``normalize=dataset``, or if the data set has the same."""
    model = network()
    set_expected(model, normalize, SHAPE, of_weights)
    adapt_input(model, *(IMAGENET if normalize == "imagenet" else OF_DATA))
    assert not hasattr(model, "bridge")
    assert torch.equal(model(PIXELS), network()(PIXELS))


def test_imagenet_can_be_set_without_weights():
    model = network()
    set_expected(model, "imagenet", SHAPE, of_weights=None)
    adapt_input(model, *OF_DATA)
    logits = model(normalised(PIXELS, OF_DATA))
    torch.testing.assert_close(logits, network()(normalised(PIXELS, IMAGENET)))


def test_weights_paths_and_random_numbers_do_not_change():
    plain, adapted = network(), network()
    set_expected(adapted, None, SHAPE, of_weights=IMAGENET)
    before = torch.get_rng_state()
    adapt_input(adapted, *OF_DATA)
    assert torch.equal(torch.get_rng_state(), before)
    assert list(adapted.state_dict()) == list(plain.state_dict())
    assert {name for name, _ in plain.named_modules()} < {n for n, _ in adapted.named_modules()}


def test_features_and_copies_are_adapted_too():
    model = network()
    set_expected(model, None, SHAPE, of_weights=IMAGENET)
    adapt_input(model, *OF_DATA)
    images = normalised(PIXELS, OF_DATA)
    original = FeatureExtractor(network(), ["stage1"])
    expected = original(normalised(PIXELS, IMAGENET)).features["stage1"]
    for adapted in (copy.deepcopy(model), model):
        feature = FeatureExtractor(adapted, ["stage1"])(images).features["stage1"]
        torch.testing.assert_close(feature, expected)


def test_other_values_are_refused():
    with pytest.raises(
        ValueError, match=r"normalize must be null, dataset, imagenet or weights, got"
    ):
        set_expected(network(), "cifar", SHAPE, of_weights=None)


def test_images_of_other_channels_are_refused():
    with pytest.raises(ValueError, match=r"normalize=imagenet needs images of 3 channels, got 1"):
        set_expected(network(), "imagenet", (1, 8, 8), of_weights=None)
