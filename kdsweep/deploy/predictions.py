"""The predictions of a classifier. Shapes: B images, C classes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

from torch import Tensor


@dataclass(frozen=True)
class Prediction:
    """The most probable classes of one image."""

    file: str | None  # path of the image, if it was given as a path
    label: str  # the most probable class
    probability: float  # in [0, 1]
    top: tuple[tuple[str, float], ...]  # classes and probabilities, the most probable first


@dataclass(frozen=True, eq=False)
class Predictions(Sequence[Prediction]):
    """The predictions for B images, in order: a sequence of `Prediction`."""

    logits: Tensor  # (B, C) float32, on the CPU
    classes: tuple[str, ...]
    files: tuple[str | None, ...]
    top: int = 5  # maximum length of `Prediction.top`

    @property
    def probabilities(self) -> Tensor:
        """(B, C) float32; the softmax is computed in float64."""
        return self.logits.double().softmax(1).float()

    @property
    def indices(self) -> Tensor:
        """The number of each image's most probable class, (B,) int64."""
        return self.logits.argmax(1)

    @property
    def labels(self) -> list[str]:
        """The name of each image's most probable class."""
        return [self.classes[index] for index in self.indices.tolist()]

    def __len__(self) -> int:
        return len(self.logits)

    @overload
    def __getitem__(self, index: int) -> Prediction: ...
    @overload
    def __getitem__(self, index: slice) -> "Predictions": ...
    def __getitem__(self, index: int | slice) -> "Prediction | Predictions":
        if isinstance(index, slice):
            return Predictions(self.logits[index], self.classes, self.files[index], self.top)
        return self._at(range(len(self))[index])

    def __iter__(self) -> Iterator[Prediction]:
        return map(self._at, range(len(self)))

    def _at(self, row: int) -> Prediction:
        probabilities = self.logits[row].double().softmax(0)
        values, indices = probabilities.topk(min(self.top, len(self.classes)))
        named = [self.classes[index] for index in indices.tolist()]
        top = tuple(zip(named, values.tolist(), strict=True))
        return Prediction(self.files[row], *top[0], top)
