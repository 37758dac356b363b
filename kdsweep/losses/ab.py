"""Activation boundaries: Heo et al. 2019, arXiv 1811.03233.

    ab = 3 / 1000 * sum over pairs of share / B * sum of
         (s + 1)^2 where the teacher's neuron is off (t <= 0) and s > -1
         (s - 1)^2 where it is on (t > 0) and s <= 1

s is the student's map after a connector, the convolution of FitNet's regressor with BatchNorm: it
predicts on which side of 0 each of the teacher's neurons is, with a margin of 1. The last pair has
share 1, each one before it half of the next one's. Factors and margin are RepDistiller's.

Whether a neuron is on can be read after the ReLU as well as before it, so the teacher's maps may
come from either side. RepDistiller takes the student's before the ReLU, and has no connector where
the shapes are equal; here there always is one, as no value after a ReLU is below -1.

Paper and RepDistiller use this loss alone for some epochs (30) and cross-entropy alone afterwards.
"""

from torch import Tensor, nn

from kdsweep.losses.base.feature_term import LearnedFeatureTerm, depth_weighted_sum
from kdsweep.losses.base.regressors import convolution_between
from kdsweep.losses.base.shapes import Shape

MARGIN = 1.0
FACTOR = 3 / 1000


class AB(LearnedFeatureTerm):
    """Squared distance to the right side of the teacher's boundaries. RepDistiller: weight 1."""

    maps_only = True

    def make_link(self, feature: Shape, target: Shape) -> nn.Module:
        return Boundaries(
            nn.Sequential(convolution_between(feature, target), nn.BatchNorm2d(target[1]))
        )

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
