"""Means over seeds, intervals, and paired tests; the numbers come from scipy and statsmodels.

These take a second to import, and a sweep of one seed each needs none of them.

Cells are compared over the seeds that both have: equal seeds share initialisation and data order,
so their difference is less noisy than either. Five seeds are a poor estimate of how much one
difference varies, all cells of a sweep together a good one: cell and seed are the factors of a
randomised block design, whose residual is the error of every comparison. That supposes that the
cells vary alike. Where they do not (Bartlett 1937), or where the cell that all others are compared
with varies more than they do (F-test), each difference is tested by its own spread, Student's
paired t-test. Neither check detects everything: docs/statistics.md has the error rates of simulated
sweeps. Every test is two-sided, and corrected over all cells that are compared with one (Holm
1979): without any difference at most `ALPHA` of all grids have a significant one.
"""

import gc
import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np

Seeds = Mapping[int, float]  # seed -> value
Interval = tuple[float, float]
Verdict = Literal["BEATS", "TIED", "LOSES"]

ALPHA = 0.05
METHOD = (
    "t-test over shared seeds, its error taken from all cells together where they vary alike"
    " (randomised blocks), else from the two (paired)"
)
POWER = 0.8  # of detecting an existing difference
BOOTSTRAP_FROM = 5  # seeds; with fewer there is too little to draw from
RESAMPLES = 9999
MANY = 1000  # seeds; more are not counted, as nobody will train them
LARGE_EFFECT = 1000.0  # in sd; two seeds detect less
CAUTION = 0.1  # level of the check that the cell all others are compared with varies as they do
ROUNDING = 1e-12  # smaller differences are rounding


@dataclass(frozen=True)
class Summary:
    """One cell's values over its seeds. ``sd`` is the sample's; intervals are of the mean."""

    values: tuple[float, ...]
    mean: float
    sd: float | None  # None with one seed, as is what follows
    t_interval: Interval | None

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def half_width(self) -> float | None:
        """Half of the interval of t; None with one seed."""
        return None if self.t_interval is None else (self.t_interval[1] - self.t_interval[0]) / 2

    @cached_property
    def bootstrap_interval(self) -> Interval | None:
        """BCa (Efron 1987); None with fewer than five seeds, or without spread."""
        if self.n < BOOTSTRAP_FROM or not self.sd:
            return None
        from scipy import stats

        ends = stats.bootstrap(
            (self.values,),
            np.mean,
            n_resamples=RESAMPLES,
            confidence_level=1 - ALPHA,
            method="BCa",
            rng=0,
        ).confidence_interval
        return float(ends.low), float(ends.high)


def summary(values: Sequence[float]) -> Summary:
    """Mean, sample sd and 95 % interval of Student's t; the bootstrap's is computed when read."""
    n, sample = len(values), tuple(map(float, values))
    if n < 2:
        return Summary(sample, math.fsum(values) / n, None, None)
    mean, sd = float(np.mean(sample)), float(np.std(sample, ddof=1))
    if sd == 0:
        return Summary(sample, mean, sd, (mean, mean))
    from scipy import stats

    low, high = stats.t.interval(1 - ALPHA, n - 1, mean, sd / math.sqrt(n))
    return Summary(sample, mean, sd, (float(low), float(high)))


@dataclass(frozen=True)
class Comparison:
    """A cell against another one, over the seeds that both have.

    ``p`` is None where nothing can be tested: fewer than two shared seeds, or no spread at all.
    ``p_corrected`` is Holm's, over all comparisons that were made at once.
    """

    n: int
    difference: float | None  # mean over the shared seeds; None without any
    sd: float | None  # of a difference
    interval: Interval | None  # 95 %, of the mean difference; not corrected
    p: float | None
    p_corrected: float | None
    df: float = 0.0  # degrees of freedom of `sd`: n - 1 if it is the differences' own

    @property
    def detectable(self) -> float | None:
        """The difference that n seeds detect with probability `POWER`, not corrected."""
        return detectable_difference(self.sd, self.n, self.df) if self.sd else None

    @property
    def seeds_needed(self) -> int | None:
        """How many seeds would detect a difference as large as this one; None for too many."""
        if not self.sd or not self.difference:
            return None
        return seeds_needed(self.difference, self.sd, self.df / (self.n - 1))

    @property
    def reversed(self) -> "Comparison":
        """The second cell against the first."""
        turned = self.interval and (-self.interval[1], -self.interval[0])
        difference = None if self.difference is None else -self.difference
        return replace(self, difference=difference, interval=turned)

    @property
    def verdict(self) -> Verdict | None:
        """None where nothing was tested."""
        if self.p_corrected is None or self.difference is None:
            return None
        if self.p_corrected >= ALPHA:
            return "TIED"
        return "BEATS" if self.difference > 0 else "LOSES"


class Spread(NamedTuple):
    """How much a difference varies, with the degrees of freedom of that estimate."""

    sd: float
    df: float


def compare(
    couples: Mapping[str, tuple[Seeds, Seeds]], spreads: Mapping[str, Spread] | None = None
) -> dict[str, Comparison]:
    """The first of each couple against the second, by t-tests, Holm-corrected over all.

    A couple is tested by the spread of its own differences unless ``spreads`` has another.
    """
    tested = {name: _paired(*pair, (spreads or {}).get(name)) for name, pair in couples.items()}
    corrected = holm({name: comparison.p for name, comparison in tested.items()})
    return {name: replace(one, p_corrected=corrected[name]) for name, one in tested.items()}


def compare_cells(cells: Mapping[str, Seeds], against: Mapping[str, str]) -> dict[str, Comparison]:
    """Cells of a sweep, by name, against those in ``against``, Holm-corrected over all."""
    named = {*against, *against.values()}
    known = pooled({name: cells[name] for name in cells if name in named})
    couples = {name: (cells[name], cells[other]) for name, other in against.items()}
    if known is None:
        return compare(couples)
    alike = (name for name, other in against.items() if other not in known.heteroscedastic)
    return compare(couples, dict.fromkeys(alike, known.spread))


@dataclass(frozen=True)
class Pooled:
    """The spread of a difference of any two cells, from the residual of cell + seed."""

    spread: Spread
    heteroscedastic: frozenset[str]  # cells that vary more than the others


def pooled(cells: Mapping[str, Seeds]) -> Pooled | None:
    """How much a difference of two cells varies, from the residual of cell + seed.

    None for fewer than three cells of two seeds or more (a paired test has the same residual), and
    for cells that do not vary alike.
    """
    blocks = {name: seeds for name, seeds in cells.items() if len(seeds) > 1}
    if len(blocks) < 3:
        return None
    from scipy import stats
    from statsmodels.regression.linear_model import OLS

    values = np.array([value for seeds in blocks.values() for value in seeds.values()])
    cell = np.repeat(np.arange(len(blocks)), [len(seeds) for seeds in blocks.values()])
    seed = np.unique([s for seeds in blocks.values() for s in seeds], return_inverse=True)[1]
    design = np.column_stack([np.eye(len(blocks))[cell], np.eye(seed.max() + 1)[seed][:, 1:]])
    fitted = OLS(values, design).fit()
    residuals = [fitted.resid[cell == number] for number in range(len(blocks))]
    sd = math.sqrt(2 * max(fitted.mse_resid, 0.0)) if fitted.df_resid > 0 else 0.0
    if sd <= ROUNDING or min(map(np.ptp, residuals)) <= ROUNDING:
        return None
    if stats.bartlett(*residuals).pvalue < ALPHA:
        return None
    heteroscedastic = {
        n for n, own in zip(blocks, residuals, strict=True) if _has_larger_variance(own, residuals)
    }
    return Pooled(Spread(sd, float(fitted.df_resid)), frozenset(heteroscedastic))


def _has_larger_variance(own: "np.ndarray", all_of_them: Sequence["np.ndarray"]) -> bool:
    """One-sided F-test: is this cell's residual variance larger than that of the others?"""
    from scipy import stats

    others = [each for each in all_of_them if each is not own]
    df = sum(len(each) - 1 for each in others)
    rest = sum(float(each @ each) for each in others) / df
    return bool(stats.f.sf(float(own @ own) / (len(own) - 1) / rest, len(own) - 1, df) < CAUTION)


def _paired(first: Seeds, second: Seeds, spread: Spread | None = None) -> Comparison:
    """Tested by the differences' own spread, unless one is given."""
    shared = sorted(first.keys() & second.keys())
    differences = np.array([first[seed] - second[seed] for seed in shared])
    n, mean = len(shared), float(differences.mean()) if shared else None
    if n < 2 or mean is None:
        return Comparison(n, mean, None, None, None, None)
    sd, df = spread or Spread(float(differences.std(ddof=1)), n - 1)
    if sd <= ROUNDING * max(1.0, abs(mean)):
        return Comparison(n, mean, 0.0, None, None, None)
    from scipy import stats

    error = sd / math.sqrt(n)
    reach = float(stats.t.ppf(1 - ALPHA / 2, df)) * error
    return Comparison(
        n=n,
        difference=mean,
        sd=sd,
        interval=(mean - reach, mean + reach),
        p=float(2 * stats.t.sf(abs(mean) / error, df)),
        p_corrected=None,
        df=df,
    )


def holm(ps: Mapping[str, float | None]) -> dict[str, float | None]:
    """Holm's corrected p-values; None stays None and does not count as a test."""
    tested = {name: p for name, p in ps.items() if p is not None}
    if not tested:
        return dict(ps)
    from statsmodels.stats.multitest import multipletests

    # statsmodels collects garbage after Holm's correction: a fifth of a second with torch in
    # memory, unless the objects of today are excluded from that.
    gc.freeze()
    try:
        corrected = multipletests(list(tested.values()), alpha=ALPHA, method="holm")[1]
    finally:
        gc.unfreeze()
    return {**ps, **dict(zip(tested, map(float, corrected), strict=True))}


def detectable_difference(sd: float, n: int, df: float | None = None) -> float:
    """The difference that n seeds detect with probability `POWER`; ``df`` is by default n - 1."""
    from scipy.optimize import brentq

    def lacking(effect: float) -> float:
        return POWER - _power(effect, n, df)

    return sd * float(brentq(lacking, 0.0, LARGE_EFFECT))


def seeds_needed(difference: float, sd: float, df_per_seed: float = 1.0) -> int | None:
    """How many seeds detect a difference with probability `POWER`; None for more than `MANY`."""
    effect, numbers = abs(difference) / sd, range(2, MANY + 1)
    # More seeds detect more; the solver of the same equation does not converge for large effects.
    place = bisect_left(numbers, POWER, key=lambda n: _power(effect, n, df_per_seed * (n - 1)))
    return numbers[place] if place < len(numbers) else None


def _power(effect: float, n: int, df: float | None) -> float:
    """Of a t-test; 1 where the effect is too large for the noncentral distribution's code."""
    from statsmodels.stats.power import TTestPower

    return float(np.nan_to_num(TTestPower().power(effect, n, ALPHA, df=df), nan=1.0))
