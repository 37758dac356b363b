"""How a term's weight changes over the epochs: warm-up, decay, an early end.

    weight in epoch n = weight * rise(n) * fall(n),  n = 1, 2, ...

    rise(n) = min(n / warmup, 1)
    fall(n) = 1 up to epoch ``until``, that one included, and 0 after it; with a decay
              1 - t (linear) or (1 + cos(pi t)) / 2 (cosine) before that,
              t = max(n - 1 - warmup, 0) / (until - warmup)

The rise is mdistiller's (DKD, ReviewKD: 20 epochs); a distillation that ends before the training is
the early-stopped KD of Cho and Hariharan 2019, arXiv 1910.01348. The decay begins when the warm-up
has ended, and its first epoch has the full weight.
"""

import math
from collections.abc import Mapping

from kdsweep.common.validation import check_positive_integer, shown

KEYS = ("warmup", "until", "decay")
DECAYS = ("linear", "cosine")


class WeightSchedule:
    """A factor for every epoch; without arguments 1 throughout.

    Args:
        warmup: epochs until the full weight is reached; None for none.
        until: the last epoch of the term, counted from 1; None for no end.
        decay: "linear" or "cosine", how the weight falls until ``until``; None for a sudden end.

    Raises ValueError if an epoch is no integer >= 1, ``until`` is not after ``warmup``, or
    ``decay`` is unknown or ``until`` is missing.
    """

    def __init__(
        self, warmup: int | None = None, until: int | None = None, decay: str | None = None
    ) -> None:
        if warmup is not None:
            check_positive_integer("warmup", warmup)
        if until is not None:
            check_positive_integer("until", until)
            if until <= (warmup or 0):
                raise ValueError(f"until must be after the warmup of {warmup} epochs, got {until}")
        if decay is not None and decay not in DECAYS:
            raise ValueError(f"decay must be null or {' or '.join(DECAYS)}, got {shown(decay)}")
        if decay is not None and until is None:
            raise ValueError(f"until must be given with decay {decay}: it is where the decay ends")
        self.warmup, self.until, self.decay = warmup, until, decay

    def factor(self, epoch: int) -> float:
        """The factor of the weight, in [0, 1]; ``epoch`` counts from 0."""
        return self._rise(epoch) * self._fall(epoch)

    def __str__(self) -> str:
        """`warmup=20 until=100 decay=linear`; empty for a constant weight."""
        given = {key: value for key in KEYS if (value := getattr(self, key)) is not None}
        return " ".join(f"{key}={value}" for key, value in given.items())

    def _rise(self, epoch: int) -> float:
        return 1.0 if self.warmup is None else min((epoch + 1) / self.warmup, 1.0)

    def _fall(self, epoch: int) -> float:
        if self.until is None:
            return 1.0
        if epoch >= self.until:
            return 0.0
        begin = self.warmup or 0
        progress = max(epoch - begin, 0) / (self.until - begin)
        if self.decay == "linear":
            return 1.0 - progress
        return (1.0 + math.cos(math.pi * progress)) / 2 if self.decay == "cosine" else 1.0


def weight_schedule(options: object) -> WeightSchedule:
    """The schedule described by a term's ``schedule`` key; None is a constant weight.

    Raises ValueError for anything other than a mapping of the known keys to values in range.
    """
    if options is None:
        return WeightSchedule()
    if not isinstance(options, Mapping) or not set(options) <= set(KEYS):
        raise ValueError(f"must be null or hold some of {', '.join(KEYS)}, got {shown(options)}")
    return WeightSchedule(**options)
