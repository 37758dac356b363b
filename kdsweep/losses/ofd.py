"""A comprehensive overhaul of feature distillation: Heo et al. 2019, arXiv 1904.01866.

    ofd = sum over pairs of share / B * sum of (s - t)^2 where s > t or t > 0,  t = max(f_t, m_c)

s is the student's map after a connector, a 1x1 convolution without bias and BatchNorm. Negative
responses of the teacher are cut at m_c (margin ReLU), and the error is 0 where both are negative
and the student's is the lower one (partial L2). The last pair has share 1, each one before it half
of the next one's; as in the authors' code and mdistiller.

m_c is the channel's mean negative response. The paper has two ways to obtain it: to measure it, or
to derive it from the BatchNorm before the ReLU, as both codes do. A term has no access to the
teacher's weights, so here it is measured, over all batches so far. Maps after a ReLU have no
negative responses and get m_c = 0; for the paper's own position name modules before the ReLU, such
as ``stage1.1``, the BatchNorm of a CNN's stage. Of two sizes the larger map is pooled.
"""

import math

import torch
from torch import Tensor, nn

from kdsweep.losses.base.feature_term import LearnedFeatureTerm, depth_weighted_sum
from kdsweep.losses.base.shapes import Shape, to_same_size


class OFD(LearnedFeatureTerm):
    """Partial L2 distance of maps before the ReLU. The authors (CIFAR): weight 1e-3."""

    maps_only = True

    def make_link(self, feature: Shape, target: Shape) -> nn.Module:
        return Overhaul(connector(feature[1], target[1]), target[1])

    def combine(self, values: list[Tensor]) -> Tensor:
        return depth_weighted_sum(values)


class Overhaul(nn.Module):
    """The student's map after the connector, compared with the teacher's above its margins."""

    responses: Tensor
    frequencies: Tensor

    def __init__(self, connector: nn.Module, channels: int) -> None:
        super().__init__()
        self.connector = connector
        # Sum and number of negative responses, each a mean over the positions of a batch.
        self.register_buffer("responses", torch.zeros(channels, 1, 1))
        self.register_buffer("frequencies", torch.zeros(channels, 1, 1))

    def forward(self, feature: Tensor, target: Tensor) -> Tensor:
        feature, target = to_same_size(feature, target)
        feature, target = self.connector(feature), torch.maximum(target, self.margin(target))
        counted = (feature > target) | (target > 0)
        return ((feature - target).square() * counted).sum() / len(feature)

    def margin(self, target: Tensor) -> Tensor:
        """(channels, 1, 1): mean negative response up to this batch; 0 if there was none."""
        responses = self.responses + target.clamp(max=0).mean(dim=(0, 2, 3)).view(-1, 1, 1)
        share = (target < 0).to(target.dtype).mean(dim=(0, 2, 3)).view(-1, 1, 1)
        frequencies = self.frequencies + share
        if self.training:
            self.responses, self.frequencies = responses, frequencies
        return torch.where(frequencies > 0, responses / frequencies, 0.0)


def connector(channels: int, target_channels: int) -> nn.Module:
    """The student's channels -> the teacher's, position by position."""
    convolution = nn.Conv2d(channels, target_channels, 1, bias=False)
    nn.init.normal_(convolution.weight, std=math.sqrt(2 / target_channels))
    return nn.Sequential(convolution, nn.BatchNorm2d(target_channels))
