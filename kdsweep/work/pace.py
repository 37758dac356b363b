"""How long all units take, from how fast those in training are."""

from collections.abc import Sequence
from typing import NamedTuple


class Share(NamedTuple):
    """A unit in training: its epochs of all runs, how much of them is done, and its time left."""

    work: float
    fraction: float
    seconds_left: float | None


def seconds_left(training: Sequence[Share], waiting: float) -> float | None:
    """Until all units are over, if those that wait are trained as fast as those in training.

    Args:
        waiting: the epochs of all runs of the units that wait.

    Returns None while the pace of no unit in training is known.
    """
    known = [one for one in training if one.seconds_left is not None and one.fraction < 1]
    rate = sum(one.work * (1 - one.fraction) / max(one.seconds_left or 0.0, 1e-9) for one in known)
    if not known or rate <= 0:
        return None
    left = waiting + sum(one.work * (1 - one.fraction) for one in training)
    slowest = max(one.seconds_left or 0.0 for one in known)
    return max(left / rate, slowest)
