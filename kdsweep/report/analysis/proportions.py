"""Confidence intervals of proportions."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Share = TypeVar("Share", float, NDArray[np.float64])

QUANTILE = 1.959963984540054  # of the normal distribution at 0.975


def wilson(share: Share, count: Share) -> tuple[Share, Share]:
    """Wilson's 95 % interval of a proportion (Wilson 1927, JASA 22, 209-212).

    As statsmodels' `proportion_confint`, whose import takes half a second.

    Args:
        share: the observed proportion, in [0, 1].
        count: the number of observations, > 0; not necessarily an integer.
    """
    spread = QUANTILE**2 / count
    middle = (share + spread / 2) / (1 + spread)
    half = QUANTILE / (1 + spread) * np.sqrt(share * (1 - share) / count + spread / count / 4)
    return middle - half, middle + half
