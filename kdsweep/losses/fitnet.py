"""FitNets, hints from inside the teacher: Romero et al. 2015, arXiv 1412.6550.

    fitnet = mean over pairs of mean((r(f_s) - f_t)^2)

r is a regressor trained with the student. For feature maps it is RepDistiller's ConvReg (and
mdistiller's): a convolution that maps the student's map to the teacher's size, then BatchNorm
and ReLU. In PyTorch's tutorial on distillation it is a 3x3 convolution alone (``conv``). Vectors
(B, D) and tokens (B, tokens, D) get a linear layer. ``none`` compares features of equal shapes as
they are, as in IvLabs/stagewise-knowledge-distillation (notebooks/main.ipynb), where the distances
are added: a weight of n here, for n pairs. None of these has a separate hint stage; the paper
trains the lower half first.
RepDistiller uses one pair, the output of the second stage, with weight 100.
"""

from collections.abc import Sequence
from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdsweep.common.validation import check_option
from kdsweep.losses.base.feature_term import LearnedFeatureTerm
from kdsweep.losses.base.regressors import Regressor, regressor_between
from kdsweep.losses.base.shapes import Shape


class FitNet(LearnedFeatureTerm):
    """MSE of paired features after a trained regressor per pair; the mean over the pairs.

    ``pairs`` may name two maps, two vectors or two rows of tokens; ``regressor`` is that of maps,
    ``conv_reg`` or ``conv``, or ``none`` for features of equal shapes. Raises ValueError for
    another one, and as `FeatureTerm` does.
    """

    def __init__(
        self, pairs: Sequence[Sequence[str]], weight: float, regressor: Regressor = "conv_reg"
    ) -> None:
        super().__init__(pairs, weight)
        check_option("regressor", regressor, get_args(Regressor))
        self.regressor = regressor

    def make_link(self, feature: Shape, target: Shape) -> nn.Module:
        return Hint(regressor_between(feature, target, self.regressor))

    def combine(self, values: list[Tensor]) -> Tensor:
        return torch.stack(values).mean()


class Hint(nn.Module):
    """The student's feature after the regressor, compared with the teacher's."""

    def __init__(self, regressor: nn.Module) -> None:
        super().__init__()
        self.regressor = regressor

    def forward(self, feature: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(self.regressor(feature), target)
