"""Flow of the solution procedure: Yim et al. 2017, "A Gift from Knowledge Distillation", CVPR.

    fsp = sum over consecutive pairs of mean_i,cd (G_s - G_t)^2,  G_cd = mean_hw a_c,hw b_d,hw

G is the flow from one map, a, to the next, b, both at the smaller size of the two. So there must be
at least two pairs, and student and teacher must have equal channels. As in RepDistiller, whose
pairs are the stem and the three stages; it uses this loss alone for 30 epochs before training
(paper: the same), and not afterwards.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor

from kdsweep.common.types import Batch
from kdsweep.losses.base.feature_term import FeatureTerm
from kdsweep.losses.base.shapes import Shape, check_equal_channels, to_same_size


class FSP(FeatureTerm):
    """Squared difference of the flows from map to map. RepDistiller: weight 50."""

    def __init__(self, pairs: Sequence[Sequence[str]], weight: float) -> None:
        super().__init__(pairs, weight)
        if len(self.pairs) < 2:
            raise ValueError(
                f"pairs must be two at least, to flow from one to the next, got {pairs}"
            )

    def check_shapes(self, feature: Shape, target: Shape) -> None:
        check_equal_channels(feature, target)

    def values(self, features: list[Tensor], targets: list[Tensor], batch: Batch) -> list[Tensor]:
        return [F.mse_loss(*pair) for pair in zip(flows(features), flows(targets), strict=True)]


def flows(maps: list[Tensor]) -> list[Tensor]:
    """From each map (B, channels, H, W) to the next: (B, channels of the next, channels)."""
    return [flow(*to_same_size(*step)) for step in pairwise(maps)]


def flow(before: Tensor, after: Tensor) -> Tensor:
    """(B, C, H, W) and (B, D, H, W) -> (B, D, C), the mean over the positions of each product."""
    positions = before.shape[2] * before.shape[3]
    return after.flatten(2) @ before.flatten(2).mT / positions
