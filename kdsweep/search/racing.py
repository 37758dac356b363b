"""Which trials of a search get another seed. Pure arithmetic; no sampler and no training here.

Every trial of a search goes through the same seeds in the same order and has one accuracy per
seed; higher is better. The first seed is always run. The next one is run only while the trial may
still be the best, judged by the seeds that it shares with the incumbent, the best trial that has
all its seeds:

    mean difference + z * noise * sqrt(2 / shared seeds) >= 0

An accuracy is read as trial + seed + rest. A lucky seed lifts all trials alike, so it cancels in a
difference of two trials on one seed; what remains is the rest of both, hence the 2. `noise` is the
standard deviation of that rest, pooled over all trials of the search. The plain spread within a
trial would contain the seed's own effect and race nobody out.

Pooling is why this works with two or three seeds. Optuna's WilcoxonPruner sees the signs and ranks
of one trial's own differences and nothing else: of n differences the smallest p-value is 1 / 2**n,
however large they are, so with p_threshold 0.1 a trial that is ten points behind still gets four
seeds, and a search with three seeds is never cut short.
"""

import math
from collections.abc import Sequence
from statistics import fmean

MIN_DEGREES_OF_FREEDOM = 4  # below it the estimate may be wrong by half, so nobody is raced out
Z = 1.0


def seed_noise(trials: Sequence[Sequence[float]]) -> float | None:
    """Standard deviation of one accuracy, without what its trial and its seed explain.

    Each accuracy after a trial's first is compared with the mean of those before it; scaled, these
    contrasts have the variance of one accuracy and are independent. The seed's effect is the same
    in all trials that have the seed, so the contrasts' mean over trials takes it out. For trials
    that stop early this is the least-squares residual of trial + seed.

    ``trials`` are accuracies, in the order of the search's seeds; any number of seeds. The result
    is None below `MIN_DEGREES_OF_FREEDOM`. A seed after the first that n trials have adds n - 1 of
    them: five trials with two seeds are enough.
    """
    squares = []
    freedom = 0
    for done in range(1, max(map(len, trials), default=0)):
        scale = math.sqrt(done / (done + 1))
        contrasts = [
            scale * (trial[done] - fmean(trial[:done])) for trial in trials if len(trial) > done
        ]
        centre = fmean(contrasts)
        squares += [(contrast - centre) ** 2 for contrast in contrasts]
        freedom += len(contrasts) - 1
    if freedom < MIN_DEGREES_OF_FREEDOM:
        return None
    return math.sqrt(math.fsum(squares) / freedom)


def incumbent(trials: Sequence[Sequence[float]], seeds: int) -> Sequence[float] | None:
    """The trial with the highest mean among those that have all seeds, the first of equals.

    ``trials`` are accuracies, in the order of the search's seeds.
    """
    complete = [trial for trial in trials if len(trial) >= seeds]
    return max(complete, key=fmean, default=None)


def may_be_best(
    candidate: Sequence[float],
    incumbent: Sequence[float] | None,
    noise: float | None,
    *,
    z: float = Z,
) -> bool:
    """Whether a trial that has these accuracies is worth its next seed.

    Accuracies are in the order of the search's seeds, those of the incumbent None while no trial
    has all seeds; ``noise`` is that of `seed_noise`; a trial may be ``z`` standard errors behind.
    """
    shared = 0 if incumbent is None else min(len(candidate), len(incumbent))
    if incumbent is None or noise is None or shared == 0:
        return True
    ahead = fmean(candidate[i] - incumbent[i] for i in range(shared))
    return ahead + z * noise * math.sqrt(2 / shared) >= 0
