"""The linear layer with which a network ends."""

from torch import nn


def classifier_of(network: nn.Module) -> nn.Linear:
    """The last linear layer, in the order of creation. Raises ValueError if there is none."""
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise ValueError("the network must have a linear layer as its classifier, it has none")
    return layers[-1]
