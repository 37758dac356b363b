import torch
from torch import nn

from kdsweep.common.classifier import is_classified
from kdsweep.models.cnn import CNN
from kdsweep.models.components.feature_extractor import FeatureExtractor
from kdsweep.models.vit import VisionTransformer

TASK = ((3, 16, 16), 10)


def classified(model: nn.Module, name: str) -> bool:
    output = FeatureExtractor(model.eval(), [name])(torch.rand(2, 3, 16, 16))
    return is_classified(model, output.features[name], output.logits)


def test_what_the_classifier_takes_is_the_pooled_vector_or_the_map_before() -> None:
    network = CNN(*TASK, width=4)
    assert classified(network, "pool")
    assert classified(network, "pool:input")
    assert not classified(network, "stage2")
    assert classified(VisionTransformer(*TASK, width=12, depth=1), "pool")


def test_of_two_heads_none_gives_the_logits() -> None:
    network = VisionTransformer(*TASK, width=12, depth=1, distillation_token=True)
    assert not classified(network, "pool")


def test_a_hidden_layer_of_equal_width_is_noticed() -> None:
    network = CNN(*TASK, width=4)
    width = network.head.in_features
    network.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10))
    assert not classified(network, "pool")
