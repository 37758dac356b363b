"""The interval of an accuracy that was measured once, on a number of images."""

import math
from statistics import NormalDist

from kdsweep.report.analysis.statistics import ALPHA, Interval


def wilson(accuracy: float, images: int) -> Interval:
    """95 % interval of a proportion in [0, 1] of ``images`` >= 1 independent images.

    Wilson 1927, J. Am. Stat. Assoc. 22, 209-212.
    """
    z = NormalDist().inv_cdf(1 - ALPHA / 2)
    scale = 1 + z**2 / images
    middle = (accuracy + z**2 / (2 * images)) / scale
    spread = accuracy * (1 - accuracy) / images + z**2 / (4 * images**2)
    reach = z * math.sqrt(spread) / scale
    return max(middle - reach, 0.0), min(middle + reach, 1.0)
