"""Class attention transfer: Guo et al. 2023, arXiv 2304.12777.

    cat_kd = sum over pairs of mean (n(A(M_s)) - n(A(M_t)))^2

M are class activation maps, (B, C, H, W): the classifier's weights times the last map at each
position (`class_maps.py`); the student's gradient reaches its last map and its classifier. A is
the average over a grid of ``resolution`` x ``resolution``. n, with ``normalize``, gives the grid of
each class the length 1. The mean is over images, classes and the cells of the grid.

The authors replace the classifiers of both networks by 1x1 convolutions without bias in front of
the average. Here the networks keep the bias, which the maps leave out: the teacher's logits, and
those of the hard term, are with it. Their variants for analysis, binary maps and maps of some
classes, are left out.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from kdsweep.common.validation import check_bool, check_positive_integer
from kdsweep.losses.base.feature_term import FeatureTerm
from kdsweep.losses.base.shapes import Shape, check_equal_channels, downsample


class CATKD(FeatureTerm):
    """Mean squared difference of class activation maps, ``[[pool:class_maps, pool:class_maps]]``.

    Raises ValueError unless ``normalize`` is true or false and ``resolution`` an integer >= 1; >= 2
    if they are normalised, because a single cell of length 1 has no gradient.
    """

    def __init__(
        self,
        pairs: Sequence[Sequence[str]],
        weight: float,
        resolution: int = 2,
        normalize: bool = True,
    ) -> None:
        super().__init__(pairs, weight)
        check_bool("normalize", normalize)
        check_positive_integer("resolution", resolution)
        if normalize and resolution == 1:
            raise ValueError("resolution must be at least 2 with normalize=true, got 1")
        self.resolution, self.normalize = resolution, normalize

    def check_shapes(self, feature: Shape, target: Shape) -> None:
        rule = "class maps must be of as many classes in student and teacher"
        check_equal_channels(feature, target, rule)

    def compare(self, feature: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(self.grid(feature), self.grid(target))

    def grid(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, cells), in float64: nearly equal ones cancel."""
        cells = downsample(maps, self.resolution, self.resolution).flatten(2).double()
        return F.normalize(cells, dim=2) if self.normalize else cells
