"""Networks without a classifier: a vector in place of logits."""

import copy

import torch
from torch import nn

from kdsweep.models.components.embedding_output import (
    dropped_tensors,
    gives_logits,
    return_embedding,
)
from kdsweep.models.components.feature_extractor import FeatureExtractor


def tower() -> nn.Module:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
    return_embedding(model, lambda vector: 2 * vector, ["head"])
    return model


def test_there_are_no_logits_and_the_vector_is_a_feature() -> None:
    images, model = torch.rand(3, 3, 2, 2), tower()
    output = FeatureExtractor(model, ["embedding"])(images)
    assert output.logits.shape == (3, 0)
    assert torch.equal(output.features["embedding"], 2 * model[1](images.flatten(1)))
    assert not gives_logits(model)
    assert gives_logits(nn.Linear(2, 2))


def test_a_copy_has_a_vector_of_its_own() -> None:
    images, model = torch.rand(3, 3, 2, 2), tower()
    other = copy.deepcopy(model)
    nn.init.zeros_(other[1].weight)
    found = FeatureExtractor(other, ["embedding"])(images).features["embedding"]
    assert torch.equal(found, 2 * other[1].bias.expand(3, -1))


def test_a_file_may_have_the_head_it_was_built_without() -> None:
    assert dropped_tensors(tower()) == ["head.weight", "head.bias"]
    assert dropped_tensors(nn.Linear(2, 2)) == []
