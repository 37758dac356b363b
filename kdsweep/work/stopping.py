"""How a unit in training is stopped, to be resumed: at the end of an epoch, or sooner."""

import math
import os
import time
from collections.abc import Callable

from kdsweep.common.pacing import Clock

GRACE = "KDSWEEP_GRACE"  # in the environment: seconds from a scheduler's signal to the end
GRACE_SECONDS = 20.0  # of which a unit may use those to the end of its epoch


def grace_seconds() -> float:
    """How long after SIGTERM an epoch may last. A value that is no number is the default."""
    try:
        return float(os.environ[GRACE])
    except (KeyError, ValueError):
        return GRACE_SECONDS


class Parked(SystemExit):
    """The training of a unit has been stopped; its runs can be resumed."""


class Stopping:
    """Whether this process has to stop, which any thread and a signal may request.

    Args:
        seconds_of_epoch_left: of the training; None if unknown.
    """

    def __init__(
        self,
        seconds_of_epoch_left: Callable[[], float | None],
        clock: Clock = time.monotonic,
    ) -> None:
        self._left, self._clock = seconds_of_epoch_left, clock
        self._deadline = math.inf

    @property
    def is_requested(self) -> bool:
        return self._deadline < math.inf

    def request(self, seconds: float = 0.0) -> None:
        """Stop at the end of the epoch if that is at most so many seconds away, else at once."""
        self._deadline = min(self._deadline, self._clock() + seconds)

    def at_step(self) -> None:
        """Raise Parked after a step if the epoch would take too long."""
        if not self.is_requested:
            return
        left = self._left()
        if left is None or self._clock() + left > self._deadline:
            raise Parked

    def at_epoch(self) -> None:
        """Raise Parked once an epoch is recorded."""
        if self.is_requested:
            raise Parked
