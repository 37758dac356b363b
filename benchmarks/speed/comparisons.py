"""The bounds that a sweep is held to, compared with what was measured."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from speed.cohorts import WORKS
from speed.rounds import Samples, Spread
from speed.step_times import CACHED_LOCKSTEP, LOCKSTEP, column
from speed.tables import Results, above_floor, cached_above_floor, of_solo, settings_of

FP32, BF16 = "fp32 auto", "bf16 auto"
# Lockstep relative to nine runs of the user's loop, computed and from the cache.
SOLO_BOUNDS = {
    ("vgg", FP32, LOCKSTEP): 0.29,
    ("vgg", FP32, CACHED_LOCKSTEP): 0.23,
    ("vgg", BF16, LOCKSTEP): 0.12,
    ("vgg", BF16, CACHED_LOCKSTEP): 0.10,
}
# Lockstep relative to its own floor and one forward pass of the teacher; cached, to its floor.
FLOOR_BOUNDS = {"vgg": 1.10, "resnet": 1.05}
CACHED_FLOOR_BOUND = 1.05


@dataclass(frozen=True)
class Comparison:
    """A measured ratio and the most that it should be."""

    name: str
    measured: Spread
    bound: float

    @property
    def holds(self) -> bool:
        return self.measured.median <= self.bound

    def __str__(self) -> str:
        verdict = "holds" if self.holds else "DOES NOT HOLD"
        return f"{self.name}: {self.measured} <= {self.bound:.2f} {verdict}"


def compare(results: Results) -> Iterator[Comparison]:
    """Every bound on something that was measured."""
    for key, samples in results["steps"].items():
        for setting in settings_of(samples):
            yield from _of_setting(key, samples, setting)


def _of_setting(key: str, samples: Samples, setting: str) -> Iterator[Comparison]:
    title = f"{WORKS[key].name}, {setting}"
    for name in (LOCKSTEP, CACHED_LOCKSTEP):
        bound = SOLO_BOUNDS.get((key, setting, name))
        if bound is not None and column(setting, name) in samples:
            yield Comparison(f"{title}: {name} / solo", of_solo(samples, setting, name), bound)
    if key not in FLOOR_BOUNDS:
        return
    bounds: list[tuple[str, str, Callable[[Samples, str], Spread], float]] = [
        (LOCKSTEP, "(floor + teacher)", above_floor, FLOOR_BOUNDS[key]),
        (CACHED_LOCKSTEP, "floor", cached_above_floor, CACHED_FLOOR_BOUND),
    ]
    for name, under, measure, bound in bounds:
        if column(setting, name) in samples:
            yield Comparison(f"{title}: {name} / {under}", measure(samples, setting), bound)
