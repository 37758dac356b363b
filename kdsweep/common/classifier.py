"""The linear layer with which a network ends."""

import torch
from torch import Tensor, nn


def classifier_of(network: nn.Module) -> nn.Linear:
    """The last linear layer, in the order of creation. Raises ValueError if there is none."""
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise ValueError("the network must have a linear layer as its classifier, it has none")
    return layers[-1]


def is_classified(network: nn.Module, feature: Tensor, logits: Tensor) -> bool:
    """Whether the classifier alone maps a feature of the network to its logits (B, C).

    The feature is a vector (B, D), or a map (B, D, H, W) that is averaged. Not so where a hidden
    layer lies between, or where the logits are the mean of two heads.
    """
    classifier = classifier_of(network)
    vectors = feature.flatten(2).mean(dim=2) if feature.dim() > 2 else feature
    if (vectors.shape[1], logits.shape[1]) != (classifier.in_features, classifier.out_features):
        return False
    with torch.no_grad():
        recomputed = classifier(vectors.to(classifier.weight))
    return torch.allclose(recomputed, logits.to(recomputed), rtol=1e-3, atol=1e-4)
