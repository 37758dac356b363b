"""Two classifiers on the same images: how many each alone classifies correctly."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from kdsweep.report.analysis.statistics import ALPHA, Interval


@dataclass(frozen=True)
class ContingencyTable:
    """How many images both, only one, or neither classify correctly."""

    both: int
    only_first: int
    only_second: int
    neither: int
    p: float  # McNemar's exact test

    @property
    def images(self) -> int:
        return self.both + self.only_first + self.only_second + self.neither

    @property
    def difference(self) -> float:
        """The second accuracy minus the first, in [-1, 1]."""
        return (self.only_second - self.only_first) / self.images

    @property
    def interval(self) -> Interval:
        """95 % interval of the difference: Wald's with half an image more in each of the cells.

        Agresti and Min 2005, Statistics in Medicine 24, 729-740. It is within [-1, 1].
        """
        first, second, total = self.only_first + 0.5, self.only_second + 0.5, self.images + 2
        middle = (second - first) / total
        variance = (first + second - (second - first) ** 2 / total) / total**2
        reach = float(stats.norm.ppf(1 - ALPHA / 2)) * math.sqrt(variance)
        return max(middle - reach, -1.0), min(middle + reach, 1.0)


def contingency(first: NDArray[Any], second: NDArray[Any]) -> ContingencyTable:
    """The table of two classifiers, from which of N images each classifies correctly (N,) bool."""
    both, only_first = int((first & second).sum()), int((first & ~second).sum())
    only_second, neither = int((second & ~first).sum()), int((~first & ~second).sum())
    p = float(mcnemar(np.array([[both, only_first], [only_second, neither]]), exact=True).pvalue)
    return ContingencyTable(both, only_first, only_second, neither, p)
