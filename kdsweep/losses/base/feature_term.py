"""The base of terms that compare features in pairs: one of the student's with one of the teacher's.

Shapes: B images; a feature is a map (B, channels, H, W), a vector (B, D) or rows of tokens
(B, tokens, D).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdsweep.common.feature_names import TRAIN, in_train_mode, without_mode
from kdsweep.common.types import Batch, Output
from kdsweep.common.validation import shown
from kdsweep.losses.base.shapes import Shape, check_maps
from kdsweep.losses.base.term import Term, at_least_float32


class FeatureTerm(Term):
    """The sum over the pairs of ``compare(feature, target)``.

    A sum and not a mean, as in RepDistiller: two pairs weigh twice as much as one. Features are
    compared in float32 at least, whatever precision the networks run in.

    ``pairs``: ``[[student_feature, teacher_feature], ...]``, module paths. Raises ValueError
    unless there is at least one pair and ``weight`` is a finite number >= 0.

    A subclass defines ``compare``, and ``maps_only = True`` or its own ``check_shapes`` if not all
    shapes can be compared.
    """

    maps_only: bool = False
    needs_logits = False

    def __init__(self, pairs: Sequence[Sequence[str]], weight: float) -> None:
        super().__init__(weight)
        self.pairs = validated_pairs(pairs)
        self.student_features = tuple(dict.fromkeys(name for name, _ in self.pairs))
        self.teacher_features = tuple(dict.fromkeys(name for _, name in self.pairs))

    def setup(self, student: Output, teacher: Output, labels: Tensor) -> None:
        """Raises ValueError for a pair whose shapes cannot be compared."""
        features, targets = self.paired_features(student, teacher)
        for pair, feature, target in zip(self.pairs, features, targets, strict=True):
            try:
                self.setup_pair(feature, target)
            except ValueError as error:
                typed = ", ".join(map(without_mode, pair))
                raise ValueError(f"pairs [{typed}]: {error}") from error

    def setup_pair(self, feature: Tensor, target: Tensor) -> None:
        self.check_shapes(feature.shape, target.shape)

    def check_shapes(self, feature: Shape, target: Shape) -> None:
        """Raises ValueError for shapes that cannot be compared; both begin with B."""
        if self.maps_only:
            check_maps(feature, target)

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        with torch.autocast(student.logits.device.type, enabled=False):
            features, targets = self.paired_features(student, teacher)
            value = self.combine(self.values(features, targets, batch))
        return value.to(features[0].dtype)  # some terms compare in float64

    def paired_features(
        self, student: Output, teacher: Output
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The student's and the teacher's feature of every pair, the latter without gradient."""
        features = [at_least_float32(student.features[name]) for name, _ in self.pairs]
        targets = [at_least_float32(teacher.features[name].detach()) for _, name in self.pairs]
        return features, targets

    def values(self, features: list[Tensor], targets: list[Tensor], batch: Batch) -> list[Tensor]:
        """One scalar per pair."""
        return [self.compare(*pair) for pair in zip(features, targets, strict=True)]

    def compare(self, feature: Tensor, target: Tensor) -> Tensor:
        """The value of one pair, a scalar, mean over the batch."""
        raise NotImplementedError

    def combine(self, values: list[Tensor]) -> Tensor:
        """The term's value from those of its pairs."""
        return torch.stack(values).sum()


class LearnedFeatureTerm(FeatureTerm):
    """A feature term with trained parameters for each pair, such as a regressor.

    A subclass defines ``make_link``, which returns a module that maps (feature, target) to the
    pair's value, and raises ValueError for shapes that cannot be compared.
    """

    def __init__(self, pairs: Sequence[Sequence[str]], weight: float) -> None:
        super().__init__(pairs, weight)
        self.links = nn.ModuleList()

    def setup(self, student: Output, teacher: Output, labels: Tensor) -> None:
        self.links = nn.ModuleList()
        super().setup(student, teacher, labels)

    def setup_pair(self, feature: Tensor, target: Tensor) -> None:
        super().setup_pair(feature, target)
        link = self.make_link(feature.shape, target.shape)
        self.links.append(link.to(device=feature.device, dtype=feature.dtype))

    def make_link(self, feature: Shape, target: Shape) -> nn.Module:
        """A new module between features of these shapes, both beginning with B."""
        raise NotImplementedError

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        if not self.links:
            raise RuntimeError(f"{type(self).__name__}.setup must be called before the first batch")
        return super().forward(student, teacher, batch)

    def values(self, features: list[Tensor], targets: list[Tensor], batch: Batch) -> list[Tensor]:
        return [link(*pair) for link, *pair in zip(self.links, features, targets, strict=True)]


def validated_pairs(pairs: Sequence[Sequence[str]]) -> tuple[tuple[str, str], ...]:
    """The pairs as plain tuples; ValueError for anything other than a list of pairs of names."""
    if not isinstance(pairs, list | tuple) or not pairs or not all(map(is_pair, pairs)):
        raise ValueError(
            "pairs must be [[student_feature, teacher_feature], ...], at least one,"
            f" got {shown(pairs)}"
        )
    return tuple((student, teacher) for student, teacher in pairs)


def is_pair(pair: Sequence[str]) -> bool:
    if isinstance(pair, str) or not isinstance(pair, Sequence):
        return False
    return len(pair) == 2 and all(isinstance(name, str) for name in pair)


def with_teacher_mode(pairs: Sequence[Sequence[str]], mode: str) -> list[tuple[str, str]]:
    """The pairs with the teacher's features in ``mode``: "train" or "eval", in which it always is.

    In train mode its BatchNorms normalise by the batch. Raises ValueError for another mode.
    """
    if mode not in ("eval", TRAIN):
        raise ValueError(f"teacher_mode must be eval or train, got {shown(mode)}")
    plain = validated_pairs(pairs)
    if mode == "eval":
        return list(plain)
    return [(student, in_train_mode(teacher)) for student, teacher in plain]


def depth_weighted_sum(values: list[Tensor]) -> Tensor:
    """The sum with weight 1 for the last value, and for each other half the weight of the next."""
    weights = [0.5**distance for distance in reversed(range(len(values)))]
    return torch.stack([w * value for w, value in zip(weights, values, strict=True)]).sum()
