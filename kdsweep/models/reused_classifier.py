"""The student of SimKD: Chen et al. 2022, arXiv 2203.14001.

Any network up to its last map, a projector to the channels of a teacher's last map, and that
teacher's classifier, frozen: `losses/simkd.py` copies it before training. As in the authors' code
(DefangChen/SimKD), the projector is a bottleneck of convolutions 1x1, 3x3 and 1x1 without bias,
each with BatchNorm and ReLU. Theirs also trains, and does not use, the student's own classifier.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kdsweep.common.classifier import classifier_of
from kdsweep.common.validation import require
from kdsweep.models.components.blocks import GlobalAveragePool, conv_bn_relu
from kdsweep.models.components.checks import Shape, check_units
from kdsweep.models.components.network_factory import make_network


class ReusedClassifier(nn.Module):
    """A network with the projector and the classifier of SimKD in place of its own classifier.

    Features: ``pool:input`` (B, channels, H, W), the projected map, ``pool`` (B, channels), and
    those of the network, ``network.stage3``. The classifier, ``head``, is not trained.

    Args:
        network: a student's yaml, with its ``model`` as a partial and ``features.embedding``, the
            module that averages its last map.
        channels: of the teacher's last map.
        factor: by which the projector's channels are fewer inside; 2, 4 or 8 in the paper.

    Raises ValueError if the network averages no map, or for numbers out of range.
    """

    awaits_classifier = True  # of a teacher; until then it is a random one that is not trained

    def __init__(
        self,
        in_shape: Shape,
        num_classes: int,
        network: Mapping[str, Any],
        channels: int,
        factor: int = 2,
    ) -> None:
        super().__init__()
        check_units(channels, "channels")
        check_units(factor, "factor")
        require(factor <= channels, "factor", f"at most channels, {channels}", factor)
        own = make_network(network["model"], in_shape, num_classes)
        self.network = up_to_the_last_map(own, network["features"]["embedding"])
        self.projector = projector(channels_of(self.network, in_shape), channels, factor)
        self.pool = GlobalAveragePool()
        self.head = nn.Linear(channels, num_classes).requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, channels, H, W) -> logits (B, C)."""
        logits: Tensor = self.head(self.pool(self.projector(self.network(images))))
        return logits


def projector(channels: int, target_channels: int, factor: int) -> nn.Sequential:
    """From the student's channels to the teacher's."""
    inside = target_channels // factor
    return nn.Sequential(
        conv_bn_relu(channels, inside, kernel_size=1),
        conv_bn_relu(inside, inside),
        conv_bn_relu(inside, target_channels, kernel_size=1),
    )


def up_to_the_last_map(network: nn.Module, embedding: str) -> nn.Module:
    """The network without its average, ``embedding``, and without its classifier."""
    classifier = classifier_of(network)
    path = next(name for name, module in network.named_modules() if module is classifier)
    for name in (path, embedding):
        network.set_submodule(name, nn.Identity())
    return network


def channels_of(network: nn.Module, in_shape: Shape) -> int:
    """Of its output for an image, a map. Raises ValueError for another output."""
    was_training = network.training
    with torch.no_grad():
        maps = network.eval()(torch.zeros(1, *in_shape))
    network.train(was_training)
    if maps.dim() != 4:
        raise ValueError(
            "network must be one that averages its last map in features.embedding, got one with"
            f" an output of shape {tuple(maps.shape[1:])} without it"
        )
    channels: int = maps.shape[1]
    return channels
