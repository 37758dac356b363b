"""The time of batches of several sizes."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from kdsweep.deploy.runtimes import Runtime
from kdsweep.deploy.timing import interleaved

SIZES = (1, 4, 16, 64, 256)  # images
SECONDS = 0.5  # of each measurement
LONGEST = 0.5  # seconds of a batch that is still measured


@dataclass(frozen=True)
class Speed:
    """The seconds of a batch, by its size: medians of interleaved rounds."""

    seconds: Mapping[int, float]

    @property
    def latency(self) -> float:
        """The seconds of one image."""
        return self.seconds[1]

    @property
    def best_batch(self) -> int:
        """The size with the highest throughput; of equal ones the smallest."""
        return min(self.seconds, key=lambda size: (self.seconds[size] / size, size))

    @property
    def throughput(self) -> float:
        """Images per second with that size."""
        return self.best_batch / self.seconds[self.best_batch]


def measure_speed(
    runtimes: Mapping[str, Runtime], shapes: Mapping[str, tuple[int, int, int]]
) -> dict[str, Speed]:
    """Every model, with batches of random numbers of its shape (channels, H, W)."""
    medians: dict[str, dict[int, float]] = {name: {} for name in runtimes}
    generator = np.random.default_rng(0)
    remaining = dict(runtimes)
    for size in SIZES:
        calls = {
            name: partial(run, generator.standard_normal((size, *shapes[name]), dtype="f4"))
            for name, run in remaining.items()
        }
        times = interleaved(calls, SECONDS) if calls else {}
        for name, seconds in times.items():
            medians[name][size] = seconds
            if 4 * seconds > LONGEST:
                del remaining[name]
    return {name: Speed(seconds) for name, seconds in medians.items()}
