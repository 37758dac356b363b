"""A comprehensive overhaul of feature distillation: Heo et al. 2019, arXiv 1904.01866.

    ofd = sum over pairs of share / B * sum of (s - t)^2 where s > t or t > 0,  t = max(f_t, m_c)

s is the student's map after a connector, a 1x1 convolution without bias and BatchNorm. Negative
responses of the teacher are cut at m_c (margin ReLU), and the error is 0 where both are negative
and the student's is the lower one (partial L2). The last pair has share 1, each one before it half
of the next one's; as in the authors' code and mdistiller.

m_c is the channel's mean negative response. As in both codes, it is derived from the BatchNorm
before the ReLU (`margins_of`). The paper's other way is to measure it, over all batches so far: so
it is where there is no such BatchNorm, and with a teacher that is trained meanwhile. Maps after a
ReLU have no negative responses; for the paper's own position name modules before the ReLU, such as
``stage1.1``, the BatchNorm of a CNN's stage. Of two sizes the larger map is pooled.

Both codes keep the teacher in train mode: its BatchNorms normalise by the batch. So does
``teacher_mode="train"``, the default; the running statistics, which nothing reads in train mode,
are left alone here.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from kdsweep.losses.base.batch_norms import batch_norm_of
from kdsweep.losses.base.feature_term import (
    LearnedFeatureTerm,
    depth_weighted_sum,
    with_teacher_mode,
)
from kdsweep.losses.base.regressors import pointwise_between
from kdsweep.losses.base.shapes import Shape, to_same_size

LEAST_SHARE = 1e-3  # of negative responses, for which their mean is computed


class OFD(LearnedFeatureTerm):
    """Partial L2 distance of maps before the ReLU. The authors (CIFAR): weight 1e-3.

    ``teacher_mode``: "train" or "eval", in which its features are computed. Raises ValueError for
    another value.
    """

    maps_only = True

    def __init__(
        self,
        pairs: Sequence[Sequence[str]],
        weight: float,
        teacher_mode: Literal["train", "eval"] = "train",
    ) -> None:
        super().__init__(with_teacher_mode(pairs, teacher_mode), weight)

    def make_link(self, feature: Shape, target: Shape) -> nn.Module:
        return Overhaul(pointwise_between(feature[1], target[1]), target[1])

    def read_teacher(self, network: nn.Module) -> None:
        """Derive the margins from its BatchNorms."""
        for link, (_, name) in zip(self.links, self.pairs, strict=True):
            assert isinstance(link, Overhaul)
            norm = batch_norm_of(network, name)
            if norm is not None and norm.affine and norm.num_features == len(link.responses):
                link.margins = margins_of(norm).to(link.responses)

    def combine(self, values: list[Tensor]) -> Tensor:
        return depth_weighted_sum(values)


class Overhaul(nn.Module):
    """The student's map after the connector, compared with the teacher's above its margins."""

    margins: Tensor | None  # (channels, 1, 1); None: measured
    responses: Tensor
    frequencies: Tensor

    def __init__(self, connector: nn.Module, channels: int) -> None:
        super().__init__()
        self.connector = connector
        self.register_buffer("margins", None)
        # Sum and number of negative responses, each a mean over the positions of a batch.
        self.register_buffer("responses", torch.zeros(channels, 1, 1))
        self.register_buffer("frequencies", torch.zeros(channels, 1, 1))

    def forward(self, feature: Tensor, target: Tensor) -> Tensor:
        feature, target = to_same_size(feature, target)
        margins = self.measured(target) if self.margins is None else self.margins
        feature, target = self.connector(feature), torch.maximum(target, margins)
        counted = (feature > target) | (target > 0)
        return ((feature - target).square() * counted).sum() / len(feature)

    def measured(self, target: Tensor) -> Tensor:
        """(channels, 1, 1): mean negative response up to this batch; 0 if there was none."""
        responses = self.responses + target.clamp(max=0).mean(dim=(0, 2, 3)).view(-1, 1, 1)
        share = (target < 0).to(target.dtype).mean(dim=(0, 2, 3)).view(-1, 1, 1)
        frequencies = self.frequencies + share
        if self.training:
            self.responses, self.frequencies = responses, frequencies
        return torch.where(frequencies > 0, responses / frequencies, 0.0)


def margins_of(norm: nn.BatchNorm2d) -> Tensor:
    """(channels, 1, 1) float64: the mean of the negative responses of each channel.

    These are normal, by the BatchNorm, with mean b and deviation |w|: E[x | x < 0] = b - |w|
    phi(b / w) / Phi(-b / |w|). Of a channel that is hardly ever negative, as in the authors' code,
    -3 |w|.
    """
    mean, deviation = norm.bias.detach().double(), norm.weight.detach().double().abs()
    ratio = mean / deviation
    share = torch.special.ndtr(-ratio)
    density = torch.exp(-ratio.square() / 2) / math.sqrt(2 * math.pi)
    margins = torch.where(share > LEAST_SHARE, mean - deviation * density / share, -3 * deviation)
    constant = deviation == 0  # the formula has no value there
    return torch.where(constant, mean.clamp(max=0), margins).view(-1, 1, 1)
