"""How a term's weight changes over the epochs: warm-up, decay, an early end.

    weight in epoch n = weight * rise(n) * fall(n),  n = 1, 2, ...

    rise(n) = min(n / warmup, 1), with from_zero min((n - 1) / warmup, 1)
    fall(n) = 1 up to epoch ``until``, that one included, and 0 after it; with a decay
              1 - t (linear) or (1 + cos(pi t)) / 2 (cosine) before that,
              t = max(n - 1 - warmup, 0) / (until - warmup)

The rise is mdistiller's (DKD, ReviewKD: 20 epochs); with ``from_zero`` it is that of ReviewKD's
authors, who count epochs from 0 (dvlab-research/ReviewKD, CIFAR-100/train.py). A distillation that
ends before the training is the early-stopped KD of Cho and Hariharan 2019, arXiv 1910.01348. The
decay begins when the warm-up has ended, and its first epoch has the full weight.
"""

import math
from collections.abc import Mapping

from kdsweep.common.validation import check_bool, check_positive_integer, shown

KEYS = ("warmup", "from_zero", "until", "decay")
DECAYS = ("linear", "cosine")


class WeightSchedule:
    """A factor for every epoch; without arguments 1 throughout.

    Args:
        warmup: epochs until the full weight is reached; None for none.
        from_zero: the first epoch of the warm-up has the factor 0, so that each is one epoch later.
        until: the last epoch of the term, counted from 1; None for no end.
        decay: "linear" or "cosine", how the weight falls until ``until``; None for a sudden end.

    Raises ValueError if an epoch is no integer >= 1, ``until`` is not after ``warmup``, ``decay``
    is unknown, or ``until`` or ``warmup`` is missing where ``decay`` or ``from_zero`` needs it.
    """

    def __init__(
        self,
        warmup: int | None = None,
        until: int | None = None,
        decay: str | None = None,
        from_zero: bool = False,
    ) -> None:
        if warmup is not None:
            check_positive_integer("warmup", warmup)
        check_bool("from_zero", from_zero)
        if from_zero and warmup is None:
            raise ValueError("from_zero must be false without warmup, got true")
        if until is not None:
            check_positive_integer("until", until)
            if until <= (warmup or 0):
                raise ValueError(f"until must be after the warmup of {warmup} epochs, got {until}")
        if decay is not None and decay not in DECAYS:
            raise ValueError(f"decay must be null or {' or '.join(DECAYS)}, got {shown(decay)}")
        if decay is not None and until is None:
            raise ValueError(f"until must be given with decay {decay}: it is where the decay ends")
        self.warmup, self.until, self.decay = warmup, until, decay
        self.from_zero = from_zero

    def factor(self, epoch: int) -> float:
        """The factor of the weight, in [0, 1]; ``epoch`` counts from 0."""
        return self._rise(epoch) * self._fall(epoch)

    def __str__(self) -> str:
        """`warmup=20 until=100 decay=linear`; empty for a constant weight."""
        given = {key: value for key in KEYS if (value := getattr(self, key))}
        return " ".join(f"{key}={shown(value)}" for key, value in given.items())

    def _rise(self, epoch: int) -> float:
        if self.warmup is None:
            return 1.0
        counted = epoch if self.from_zero else epoch + 1
        return min(counted / self.warmup, 1.0)

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
