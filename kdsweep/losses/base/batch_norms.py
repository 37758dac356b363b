"""The BatchNorm whose output a feature of a network is, up to a shortcut that is added to it."""

from collections.abc import Iterator

from torch import nn

from kdsweep.common.feature_names import BEFORE_RELU, parse_feature

SHORTCUTS = ("shortcut", "downsample")  # names of modules: here; of torchvision and timm


def batch_norm_of(network: nn.Module, feature: str) -> nn.BatchNorm2d | None:
    """The last BatchNorm in front of a feature, in the order of creation; None if there is none.

    As in the authors' code of `ofd` and in mdistiller: for a map before its ReLU, that which ends
    the residual branch of the last block; for another one, the layer that it ends with.
    """
    name = parse_feature(feature)
    if name.place not in (None, BEFORE_RELU):
        return None
    layers = list(layers_of(network.get_submodule(name.path)))
    norms = [layer for layer in layers if isinstance(layer, nn.BatchNorm2d)]
    if not norms or not (name.place == BEFORE_RELU or norms[-1] is layers[-1]):
        return None
    return norms[-1]


def layers_of(module: nn.Module) -> Iterator[nn.Module]:
    """The layers inside of a module, or the module itself if it is one, without shortcuts."""
    for path, layer in module.named_modules():
        is_layer = next(layer.children(), None) is None
        if is_layer and not any(part in SHORTCUTS for part in path.split(".")):
            yield layer
