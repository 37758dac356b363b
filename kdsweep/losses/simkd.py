"""SimKD, the reused teacher classifier: Chen et al. 2022, arXiv 2203.14001.

    simkd = mean (P(f_s) - f_t)^2

f_t is the map that the teacher averages before its classifier, P(f_s) the student's after a
projector, which is part of the student, like a frozen copy of the teacher's classifier: the network
`student=simkd` (`models/reused_classifier.py`). The authors train with this alone, without labels
and KL: ``hard_weight=0``. Where the student's map is smaller, the teacher's is averaged. The
authors' code averages a larger one of the student's in front of the projector; here it is refused.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdsweep.common.classifier import classifier_of
from kdsweep.losses.base.feature_term import FeatureTerm
from kdsweep.losses.base.shapes import Shape, both_shapes, check_maps, to_same_size


class SimKD(FeatureTerm):
    """Mean squared difference of last maps; the student gets the teacher's classifier."""

    needs_trained_teacher = True
    needs_one_teacher = True
    needs_classifier = True
    initializes_student = True

    def check_shapes(self, feature: Shape, target: Shape) -> None:
        check_maps(feature, target)
        if feature[1] != target[1] or feature[2] > target[2] or feature[3] > target[3]:
            raise ValueError(
                "maps must be of equal channels, student.model.channels, and the student's not"
                f" larger than the teacher's, got {both_shapes(feature, target)}"
            )

    def compare(self, feature: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(*to_same_size(feature, target))

    def initialize_student(self, student: nn.Module, teacher: nn.Module) -> None:
        """Copy the classifier. Raises ValueError for a student that would train it."""
        own, reused = classifier_of(student), classifier_of(teacher)
        if own.weight.requires_grad:
            raise ValueError(
                "must be of a student that reuses the teacher's classifier, student=simkd, got one"
                f" with a classifier of {own.in_features} inputs of its own"
            )
        with torch.no_grad():
            own.weight.copy_(reused.weight)
            own.bias.zero_() if reused.bias is None else own.bias.copy_(reused.bias)
