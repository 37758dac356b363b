"""Accuracy and confusion on images in folders that are named as their classes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdsweep.deploy.predict import FilePrediction
from kdsweep.plotting.confusion import draw_confusion


class Scores:
    """The confusion (C, C) of each classifier: rows are true classes, columns predicted ones."""

    def __init__(self, classes: Sequence[str], names: Sequence[str]) -> None:
        """``names``: the names of the classifiers, in the order of their predictions."""
        self.classes = list(classes)
        self._number = {name: number for number, name in enumerate(classes)}
        size = len(self.classes)
        self.confusion: dict[str, NDArray[np.int64]] = {
            name: np.zeros((size, size), np.int64) for name in names
        }

    @property
    def count(self) -> int:
        """The number of images counted so far."""
        return int(next(iter(self.confusion.values())).sum())

    def add(self, prediction: FilePrediction, label: str) -> None:
        """Count an image whose true class is ``label``."""
        row = self._number[label]
        for counts, one in zip(self.confusion.values(), prediction.predictions, strict=True):
            counts[row, self._number[one.label]] += 1

    def accuracy(self, name: str) -> float:
        """The accuracy of a classifier, in [0, 1]."""
        counts = self.confusion[name]
        return float(np.trace(counts) / max(counts.sum(), 1))

    def draw(self, name: str, path: Path) -> None:
        """Write a picture of a classifier's confusion. Raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_confusion(self.confusion[name], self.classes, path, name)
