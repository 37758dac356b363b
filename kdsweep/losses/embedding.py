"""Distillation of an image's embedding, for teachers without a classifier such as DINOv2 and CLIP.

    embedding = sum over pairs of mean_i d(g(f_s_i), f_t_i)

f are vectors, of maps the mean over the positions and of rows of tokens the mean over the tokens; g
is a projection into the teacher's space, trained with the student. d is

    cosine      1 - cos(a, b)
    mse         mean_d (a_d - b_d)^2
    smooth_l1   mean_d huber(a_d - b_d)

Such embeddings are compared by their cosine. AM-RADIO (Ranzinger et al. 2024, arXiv 2312.06709)
has this term for the summary vectors of DINOv2 and CLIP. With vectors of length 1 the mean over D
dimensions of ``mse`` is 2 / D times ``cosine``.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from kdsweep.common.validation import check_bool, check_option
from kdsweep.losses.base.feature_term import LearnedFeatureTerm
from kdsweep.losses.base.shapes import Shape, as_vectors, both_shapes, vector_width

Distance = Literal["cosine", "mse", "smooth_l1"]
Projection = Literal["linear", "mlp", "none"]


class Embedding(LearnedFeatureTerm):
    """Distance of paired embeddings after a trained projection of the student's.

    Args:
        distance: ``cosine`` in [0, 2], ``mse`` or ``smooth_l1``.
        projection: ``linear``, ``mlp`` (hidden layer as wide as the teacher's vector, GELU), or
            ``none`` for vectors of one length.
        normalize: whether the vectors of ``mse`` and ``smooth_l1`` have length 1.

    Raises ValueError for other values, and as `FeatureTerm` does.
    """

    def __init__(
        self,
        pairs: Sequence[Sequence[str]],
        weight: float,
        distance: Distance = "cosine",
        projection: Projection = "linear",
        normalize: bool = False,
    ) -> None:
        super().__init__(pairs, weight)
        check_option("distance", distance, get_args(Distance))
        check_option("projection", projection, get_args(Projection))
        check_bool("normalize", normalize)
        self.distance, self.projection, self.normalize = distance, projection, normalize

    def make_link(self, feature: Shape, target: Shape) -> nn.Module:
        width, target_width = vector_width(feature), vector_width(target)
        return Projected(
            projection_between(width, target_width, self.projection, both_shapes(feature, target)),
            self.distance,
            self.normalize,
        )


class Projected(nn.Module):
    """The student's vector after the projection, compared with the teacher's."""

    def __init__(self, projection: nn.Module, distance: Distance, normalize: bool) -> None:
        super().__init__()
        self.projection, self.distance, self.normalize = projection, distance, normalize

    def forward(self, feature: Tensor, target: Tensor) -> Tensor:
        student, teacher = self.projection(as_vectors(feature)), as_vectors(target)
        if self.distance == "cosine":
            # In float64: 1 - cos cancels where the two are nearly equal.
            return (1 - F.cosine_similarity(student.double(), teacher.double(), dim=1)).mean()
        if self.normalize:
            student, teacher = F.normalize(student, dim=1), F.normalize(teacher, dim=1)
        compare = F.mse_loss if self.distance == "mse" else F.smooth_l1_loss
        return compare(student, teacher)


def projection_between(width: int, target: int, kind: Projection, shapes: str) -> nn.Module:
    """A new projection of vectors. Raises ValueError for ``none`` and vectors of two lengths."""
    if kind == "none":
        if width != target:
            raise ValueError(f"projection must be linear or mlp for these features, got {shapes}")
        return nn.Identity()
    if kind == "mlp":
        return nn.Sequential(nn.Linear(width, target), nn.GELU(), nn.Linear(target, target))
    return nn.Linear(width, target)
