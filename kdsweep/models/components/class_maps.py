"""Class activation maps: Zhou et al. 2016, arXiv 1512.04150."""

import torch.nn.functional as F
from torch import Tensor, nn


class ClassMapError(ValueError):
    """A feature cannot be class activation maps; ``why`` continues "must be of a module"."""

    def __init__(self, feature: str, why: str) -> None:
        super().__init__(f"feature {feature!r} must be of a module {why}")
        self.feature, self.why = feature, why


def class_maps(maps: Tensor, classifier: nn.Linear, name: str) -> Tensor:
    """The logits of each position of a map, without the classifier's bias.

    Their mean over the positions, plus the bias, are the logits of a network that averages its last
    map. As a 1x1 convolution, the gradient reaches map and classifier.

    Args:
        maps: (B, channels, H, W), what the network averages before the classifier.
        classifier: of as many inputs as ``maps`` has channels.
        name: of the feature, for the message.

    Returns:
        (B, C, H, W).

    Raises ClassMapError for something else than such a map.
    """
    if maps.dim() != 4 or maps.shape[1] != classifier.in_features:
        shape = ", ".join(["B", *map(str, maps.shape[1:])])
        channels = classifier.in_features
        raise ClassMapError(
            name, f"that takes a map with the {channels} channels of the classifier, got ({shape})"
        )
    return F.conv2d(maps, classifier.weight[:, :, None, None])
