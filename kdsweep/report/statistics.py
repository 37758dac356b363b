"""Means over seeds, intervals, and paired tests; the numbers come from scipy and statsmodels.

Cells are compared over the seeds that both have: equal seeds share initialisation and data order,
so their difference is less noisy than either. Every test is two-sided, and corrected over all cells
that are compared at once (Holm 1979), so that a grid without any difference calls one in at most
`ALPHA` of all grids.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as mcnemar_test
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

Seeds = Mapping[int, float]  # seed -> value
Interval = tuple[float, float]
Verdict = Literal["BEATS", "TIED", "LOSES"]

ALPHA = 0.05
POWER = 0.8  # of finding a difference that is there
BOOTSTRAP_FROM = 5  # seeds; with fewer there is too little to draw from
RESAMPLES = 9999
MANY = 1000  # seeds; whoever needs more will not train them


@dataclass(frozen=True)
class Summary:
    """One cell's values over its seeds. ``sd`` is the sample's; intervals are of the mean."""

    n: int
    mean: float
    sd: float | None  # None with one seed, as is what follows
    t_interval: Interval | None
    bootstrap_interval: Interval | None  # BCa; None with fewer than five seeds, or without spread


def summary(values: Sequence[float]) -> Summary:
    """Mean, sample sd and 95 % intervals (Student's t; bootstrap BCa, Efron 1987)."""
    n = len(values)
    if n < 2:
        return Summary(n, math.fsum(values) / n, None, None, None)
    sample = np.asarray(values, dtype=float)
    mean, sd = float(sample.mean()), float(sample.std(ddof=1))
    if sd == 0:
        return Summary(n, mean, sd, (mean, mean), None)
    low, high = stats.t.interval(1 - ALPHA, n - 1, mean, sd / math.sqrt(n))
    return Summary(n, mean, sd, (float(low), float(high)), _bootstrap(sample))


def _bootstrap(sample: "np.ndarray") -> Interval | None:
    if len(sample) < BOOTSTRAP_FROM:
        return None
    found = stats.bootstrap(
        (sample,), np.mean, n_resamples=RESAMPLES, confidence_level=1 - ALPHA, method="BCa", rng=0
    ).confidence_interval
    return float(found.low), float(found.high)


@dataclass(frozen=True)
class Comparison:
    """A cell against another one, over the seeds that both have.

    ``p`` is None where nothing can be tested: fewer than two shared seeds, or differences without
    any spread. ``p_corrected`` is Holm's, over all that were compared at once.
    """

    n: int
    difference: float | None  # mean over the shared seeds; None without any
    sd: float | None  # of the differences
    interval: Interval | None  # 95 %, of the mean difference; not corrected
    p: float | None
    p_corrected: float | None

    @property
    def detectable(self) -> float | None:
        """The difference that so many seeds find with probability `POWER`, not corrected."""
        return detectable_difference(self.sd, self.n) if self.sd else None

    @property
    def seeds_needed(self) -> int | None:
        """How many seeds would find a difference as large as this one; None for too many."""
        return seeds_needed(self.difference, self.sd) if self.sd and self.difference else None

    @property
    def verdict(self) -> Verdict | None:
        """None where nothing was tested."""
        if self.p_corrected is None or self.difference is None:
            return None
        if self.p_corrected >= ALPHA:
            return "TIED"
        return "BEATS" if self.difference > 0 else "LOSES"


def compare(couples: Mapping[str, tuple[Seeds, Seeds]]) -> dict[str, Comparison]:
    """The first of each couple against the second, by paired t-tests, Holm-corrected over all."""
    tested = {name: _paired(*couple) for name, couple in couples.items()}
    corrected = holm({name: found.p for name, found in tested.items()})
    return {name: replace(found, p_corrected=corrected[name]) for name, found in tested.items()}


def _paired(ours: Seeds, theirs: Seeds) -> Comparison:
    shared = sorted(ours.keys() & theirs.keys())
    differences = np.array([ours[seed] - theirs[seed] for seed in shared])
    if len(shared) < 2:
        mean = float(differences.mean()) if shared else None
        return Comparison(len(shared), mean, None, None, None, None)
    mean, sd = float(differences.mean()), float(differences.std(ddof=1))
    if sd <= 1e-12 * max(1.0, abs(mean)):  # rounding alone
        return Comparison(len(shared), mean, 0.0, None, None, None)
    test = stats.ttest_1samp(differences, 0.0)
    low, high = test.confidence_interval(1 - ALPHA)
    return Comparison(
        n=len(shared),
        difference=mean,
        sd=sd,
        interval=(float(low), float(high)),
        p=float(test.pvalue),
        p_corrected=None,
    )


def holm(ps: Mapping[str, float | None]) -> dict[str, float | None]:
    """Holm's corrected p-values; what was not tested does not count and stays None."""
    tested = {name: p for name, p in ps.items() if p is not None}
    if not tested:
        return dict(ps)
    corrected = multipletests(list(tested.values()), alpha=ALPHA, method="holm")[1]
    return {**ps, **dict(zip(tested, map(float, corrected), strict=True))}


def detectable_difference(sd: float, n: int) -> float:
    """The difference that a paired t-test of n seeds finds with probability `POWER`."""
    return sd * float(TTestPower().solve_power(nobs=n, alpha=ALPHA, power=POWER))


def seeds_needed(difference: float, sd: float) -> int | None:
    """How many seeds find a difference with probability `POWER`; None for more than `MANY`."""
    effect, numbers = abs(difference) / sd, range(2, MANY + 1)
    # More seeds find more; the solver of the same equation does not converge for large effects.
    place = bisect_left(numbers, POWER, key=lambda n: TTestPower().power(effect, n, ALPHA))
    return numbers[place] if place < len(numbers) else None


def mcnemar(ours: Sequence[bool], theirs: Sequence[bool]) -> float:
    """p-value of McNemar's exact test: two runs, each right or wrong on the same images.

    Raises:
        ValueError: unless both have answered the same number of images.
    """
    right = np.array([ours, theirs], dtype=bool) if len(ours) == len(theirs) else None
    if right is None:
        raise ValueError(f"both must answer the same images, got {len(ours)} and {len(theirs)}")
    table = [
        [int(np.sum((right[0] == a) & (right[1] == b))) for b in (True, False)]
        for a in (True, False)
    ]
    return float(mcnemar_test(table, exact=True).pvalue)
