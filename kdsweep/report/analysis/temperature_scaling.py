"""The temperature that calibrates a network, and how well calibrated it is.

Temperature scaling (Guo et al. 2017, arXiv 1706.04599): all logits are divided by the one T that
minimises the negative log likelihood (NLL) of validation images. Predicted classes stay the same.
Shapes: logits (N, C) and labels (N,) of N images and C classes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from kdsweep.common.calibration import ECE_BINS
from kdsweep.report.analysis.statistics import ALPHA, Interval

Array = np.ndarray

PRECISE = {"ftol": 1e-15, "gtol": 1e-10, "maxiter": 200}
RESAMPLES = 1000
WIDEST = 16.0  # largest ratio of a resample's T to the fitted one
STEPS = 97  # temperatures between them: linear interpolation is right to a thousandth


def calibrated_temperature(logits: Array, labels: Array) -> float:
    """The T that minimises NLL, by L-BFGS over log T.

    It is 0 where every image is right, as NLL then decreases without end as T goes to 0; and inf
    where the logits contain no information on the labels: see `is_reached`.
    """
    centred = _centred(logits)
    own = _own(centred, labels)
    if own.mean() <= centred.mean():
        return math.inf
    if not np.any(own < 0):
        return 0.0

    def nll(log_T: Array) -> tuple[float, float]:
        each, slopes = _nll_and_slopes(centred, labels, math.exp(log_T[0]))
        return float(each.mean()), float(slopes.mean())

    # In units of the logits, so that scaling them scales the result to the last digits.
    start = math.log(float(np.std(logits, dtype=np.float64)))
    # The same algorithm as torch.optim's, whose first step imports a compiler for two seconds.
    solution = minimize(nll, [start], jac=True, method="L-BFGS-B", options=PRECISE)
    return math.exp(solution.x[0])


def is_reached(T: float) -> bool:
    """Whether NLL has a minimum, at this T, and not only a limit at 0 or inf."""
    return 0 < T < math.inf


def bootstrap_interval(logits: Array, labels: Array, T: float) -> Interval:
    """95 % percentile interval of a calibrated T by bootstrap over images, with a fixed seed.

    It begins at 0 where too many of the resamples have no wrong prediction. NLL is convex in 1 / T,
    so its slope has one sign below the minimum and the other above: each image's slope is computed
    once, at temperatures around T, and a resample's T is where their mean changes its sign.
    """
    centred, rng = _centred(logits), np.random.default_rng(0)
    grid = math.log(T) + np.linspace(-1, 1, STEPS) * math.log(WIDEST)
    slopes = np.stack([_nll_and_slopes(centred, labels, math.exp(u))[1] for u in grid], axis=1)
    images = len(labels)
    drawn = [
        np.bincount(rng.integers(images, size=images), minlength=images) @ slopes
        for _ in range(RESAMPLES)
    ]
    temperatures = [_zero(grid, slope) for slope in drawn]
    # Values between a T and a limit have no meaning, so a quantile is one of the values.
    low, high = np.quantile(temperatures, [ALPHA / 2, 1 - ALPHA / 2], method="inverted_cdf")
    return float(low), float(high)


def _zero(grid: Array, slope: Array) -> float:
    """T where a rising slope crosses 0; the limit where it does so outside of the grid."""
    place = int(np.sum(slope < 0))
    if place == 0:
        return 0.0
    if place == len(grid):
        return math.inf
    below, above = slope[place - 1], slope[place]
    return math.exp(grid[place - 1] - below * (grid[place] - grid[place - 1]) / (above - below))


def _centred(logits: Array) -> Array:
    centred: Array = np.array(logits, dtype=np.float64)
    centred -= centred.max(axis=1, keepdims=True)
    return centred


def _nll_and_slopes(centred: Array, labels: Array, T: float) -> tuple[Array, Array]:
    """Each image's NLL at T, and its derivative by log T: (N,) and (N,)."""
    weights = np.exp(centred / T)
    total = weights.sum(axis=1)
    own, mean = _own(centred, labels), np.einsum("nc,nc->n", weights, centred) / total
    return np.log(total) - own / T, (own - mean) / T


def _own(values: Array, labels: Array) -> Array:
    own: Array = values[np.arange(len(labels)), labels]
    return own


@dataclass(frozen=True)
class Scores:
    """Scores of the predicted probabilities; smaller is better."""

    ece: float  # expected calibration error over 15 bins, in [0, 1]
    nll: float  # nats per image
    brier: float  # squared error summed over the classes (Brier 1950), in [0, 2]


def scores(logits: Array, labels: Array, T: float = 1.0) -> Scores:
    """Scores of softmax(logits / T)."""
    scaled = np.asarray(logits, dtype=np.float64) / T
    soft = probabilities(scaled)
    squares = np.einsum("nc,nc->n", soft, soft)
    return Scores(
        ece=_calibration_error(reliability(logits, labels, T)),
        nll=mean_nll(scaled, labels, [1.0])[0],
        brier=float((squares - 2 * _own(soft, labels) + 1).mean()),
    )


def mean_nll(logits: Array, labels: Array, temperatures: Sequence[float]) -> list[float]:
    """Negative log likelihood at each T, in nats per image."""
    centred = _centred(logits)
    return [float(_nll_and_slopes(centred, labels, T)[0].mean()) for T in temperatures]


def probabilities(logits: Array, T: float = 1.0) -> Array:
    """softmax(logits / T), (N, C) float64."""
    soft: Array = np.exp(log_probabilities(logits, T))
    return soft


def log_probabilities(logits: Array, T: float = 1.0) -> Array:
    """log softmax(logits / T), (N, C) float64."""
    centred: Array = _centred(logits) / T
    centred -= np.log(np.exp(centred).sum(axis=1, keepdims=True))
    return centred


@dataclass(frozen=True)
class Bin:
    """The images whose confidence is in one fifteenth of (0, 1]."""

    count: int
    confidence: float  # mean over them
    accuracy: float


def reliability(logits: Array, labels: Array, T: float = 1.0) -> list[Bin]:
    """The bins of the expected calibration error that are not empty, in order."""
    soft = probabilities(logits, T)
    confidence, right = soft.max(axis=1), soft.argmax(axis=1) == labels
    place = np.clip(np.ceil(confidence * ECE_BINS).astype(int), 1, ECE_BINS)
    inside = [place == number for number in range(1, ECE_BINS + 1)]
    return [
        Bin(int(mask.sum()), float(confidence[mask].mean()), float(right[mask].mean()))
        for mask in inside
        if mask.any()
    ]


def _calibration_error(bins: Sequence[Bin]) -> float:
    gaps = math.fsum(each.count * abs(each.confidence - each.accuracy) for each in bins)
    return gaps / sum(each.count for each in bins)
