"""Activation boundaries: Heo et al. 2019, arXiv 1811.03233.

    ab = 3 / 1000 * sum over pairs of share / B * sum of
         (s + 1)^2 where the teacher's neuron is off (t <= 0) and s > -1
         (s - 1)^2 where it is on (t > 0) and s <= 1

s is the student's map after a connector: it predicts on which side of 0 each of the teacher's
neurons is, with a margin of 1. The last pair has share 1, each one before it half of the next
one's. Factors and margin are those of the authors (CIFAR-10) and of RepDistiller.

Both have no connector where the shapes are equal. Elsewhere the authors have a 1x1 convolution
without bias (He's initialisation) and BatchNorm, RepDistiller the convolution of FitNet's
regressor, which may change the size, and BatchNorm.

Whether a neuron is on can be read after the ReLU as well as before it, so the teacher's maps may
come from either side. The student's are taken before it: no value after a ReLU is below -1.

Paper and RepDistiller use this loss alone for some epochs (30) and cross-entropy alone afterwards.
There RepDistiller trains the modules up to the last map: not the last BatchNorm of a wide ResNet,
which stays in eval mode, with mean 0 and deviation 1. For that, compare ``stage3`` in place of
``last.0``. The authors' CIFAR-10 code keeps the teacher in train mode (``teacher_mode="train"``);
their code for transfer learning, and RepDistiller, keep it in eval mode.
"""

from collections.abc import Sequence
from typing import Literal, get_args

from torch import Tensor, nn

from kdsweep.common.validation import shown
from kdsweep.losses.base.feature_term import (
    LearnedFeatureTerm,
    depth_weighted_sum,
    with_teacher_mode,
)
from kdsweep.losses.base.regressors import convolution_between, pointwise_between
from kdsweep.losses.base.shapes import Shape

MARGIN = 1.0
FACTOR = 3 / 1000

Connector = Literal["authors", "identity"]


class AB(LearnedFeatureTerm):
    """Squared distance to the right side of the teacher's boundaries. RepDistiller: weight 1.

    ``connector``, between unlike shapes: "authors", the 1x1 convolution, except between maps of two
    sizes; or "identity", as in RepDistiller, FitNet's convolution. ``teacher_mode``: "train" or
    "eval". Raises ValueError for other values.
    """

    maps_only = True

    def __init__(
        self,
        pairs: Sequence[Sequence[str]],
        weight: float,
        connector: Connector = "authors",
        teacher_mode: Literal["train", "eval"] = "eval",
    ) -> None:
        super().__init__(with_teacher_mode(pairs, teacher_mode), weight)
        if connector not in get_args(Connector):
            allowed = " or ".join(get_args(Connector))
            raise ValueError(f"connector must be {allowed}, got {shown(connector)}")
        self.connector = connector

    def make_link(self, feature: Shape, target: Shape) -> nn.Module:
        return Boundaries(connector_between(feature, target, self.connector))

    def combine(self, values: list[Tensor]) -> Tensor:
        return depth_weighted_sum(values)


class Boundaries(nn.Module):
    """The student's map after the connector, compared with the teacher's."""

    def __init__(self, connector: nn.Module) -> None:
        super().__init__()
        self.connector = connector

    def forward(self, feature: Tensor, target: Tensor) -> Tensor:
        feature = self.connector(feature)
        too_high = (feature + MARGIN).square() * ((target <= 0) & (feature > -MARGIN))
        too_low = (feature - MARGIN).square() * ((target > 0) & (feature <= MARGIN))
        return FACTOR * (too_high + too_low).sum() / len(feature)


def connector_between(feature: Shape, target: Shape, kind: Connector) -> nn.Module:
    """A connector between these shapes, both beginning with B."""
    if tuple(feature[1:]) == tuple(target[1:]):
        return nn.Identity()
    if kind == "authors" and feature[2:] == target[2:]:
        return pointwise_between(feature[1], target[1])
    return nn.Sequential(convolution_between(feature, target), nn.BatchNorm2d(target[1]))
