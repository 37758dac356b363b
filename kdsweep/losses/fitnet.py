"""FitNets, hints from inside the teacher: Romero et al. 2015, arXiv 1412.6550.

    fitnet = mean over pairs of mean((r(f_s) - f_t)^2)

r is a regressor trained with the student. For feature maps it is RepDistiller's ConvReg (and
mdistiller's): a convolution that brings the student's map to the teacher's size, then BatchNorm
and ReLU. Vectors (B, D) and tokens (B, tokens, D) get a linear layer. As in both
repositories there is no separate hint stage; the paper trains the lower half first.
RepDistiller uses one pair, the output of the second stage, with weight 100.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdsweep.losses.term import Term, at_least_float32
from kdsweep.structures import Batch, Output


class FitNet(Term):
    """MSE of paired features after a trained regressor per pair.

    ``pairs``: ``[[student_feature, teacher_feature], ...]``, module paths. Raises ValueError
    unless there is at least one pair and ``weight`` is a finite number >= 0.
    """

    def __init__(self, pairs: Sequence[Sequence[str]], weight: float) -> None:
        super().__init__(weight)
        self.pairs = checked_pairs(pairs)
        self.student_features = tuple(dict.fromkeys(ours for ours, _ in self.pairs))
        self.teacher_features = tuple(dict.fromkeys(theirs for _, theirs in self.pairs))
        self.regressors = nn.ModuleList()

    def bind(self, student: Output, teacher: Output, num_train: int) -> None:
        """Make the regressors. Raises ValueError for a pair whose shapes cannot be matched."""
        self.regressors = nn.ModuleList()
        for ours, theirs in self.pairs:
            feature, target = student.features[ours], teacher.features[theirs]
            try:
                regressor = regressor_between(feature.shape, target.shape)
            except ValueError as error:
                raise ValueError(f"loss.fitnet.pairs [{ours}, {theirs}]: {error}") from error
            dtype = at_least_float32(feature).dtype
            self.regressors.append(regressor.to(device=feature.device, dtype=dtype))

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        if not self.regressors:
            raise RuntimeError("FitNet.bind must be called before the first batch")
        values = [
            hint_loss(regressor(at_least_float32(student.features[ours])), teacher.features[theirs])
            for (ours, theirs), regressor in zip(self.pairs, self.regressors, strict=True)
        ]
        return torch.stack(values).mean()


def hint_loss(regressed: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of two features of one shape; no gradient to ``target``."""
    return F.mse_loss(at_least_float32(regressed), at_least_float32(target.detach()))


def regressor_between(feature: Sequence[int], target: Sequence[int]) -> nn.Module:
    """A module from the student's shape to the teacher's, both beginning with B.

    Raises ValueError if there is none.
    """
    if len(feature) == len(target) == 4:
        convolution = convolution_between(feature, target)
        return nn.Sequential(convolution, nn.BatchNorm2d(target[1]), nn.ReLU())
    if len(feature) == len(target) and len(feature) in (2, 3) and feature[1:-1] == target[1:-1]:
        return nn.Linear(feature[-1], target[-1])
    raise ValueError(unmatched(feature, target))


def convolution_between(feature: Sequence[int], target: Sequence[int]) -> nn.Module:
    """The convolution of RepDistiller's ConvReg: it halves, doubles, or crops to the size."""
    _, ours, height, width = feature
    _, theirs, target_height, target_width = target
    if (height, width) == (2 * target_height, 2 * target_width):
        return nn.Conv2d(ours, theirs, kernel_size=3, stride=2, padding=1)
    if (2 * height, 2 * width) == (target_height, target_width):
        return nn.ConvTranspose2d(ours, theirs, kernel_size=4, stride=2, padding=1)
    if height >= target_height and width >= target_width:
        kernel = (1 + height - target_height, 1 + width - target_width)
        return nn.Conv2d(ours, theirs, kernel_size=kernel)
    raise ValueError(unmatched(feature, target))


def unmatched(feature: Sequence[int], target: Sequence[int]) -> str:
    return (
        "features must be two vectors, two rows of tokens of one length, or two maps of which "
        "the student's is half as large as the teacher's, as large or larger, "
        f"got {shape_text(feature)} and {shape_text(target)}"
    )


def shape_text(shape: Sequence[int]) -> str:
    return f"({', '.join(['B', *map(str, shape[1:])])})"


def checked_pairs(pairs: Sequence[Sequence[str]]) -> tuple[tuple[str, str], ...]:
    """The pairs as plain tuples; ValueError for anything else than a list of pairs of names."""
    clear = not isinstance(pairs, str) and all(is_pair(pair) for pair in pairs or ())
    if not pairs or not clear:
        raise ValueError(
            "loss.fitnet.pairs must be [[student_feature, teacher_feature], ...], at least one, "
            f"got {pairs!r}"
        )
    return tuple((ours, theirs) for ours, theirs in pairs)


def is_pair(pair: Sequence[str]) -> bool:
    if isinstance(pair, str) or not isinstance(pair, Sequence):
        return False
    return len(pair) == 2 and all(isinstance(name, str) for name in pair)
