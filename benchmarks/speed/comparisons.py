"""The bounds that a sweep is held to, compared with what was measured."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from speed.cohorts import WORKS
from speed.rounds import Samples, Spread, ratio
from speed.start_times import COMPOSED, HELPED, SECOND_DIGITS, SECOND_IMAGES
from speed.step_times import CACHED_LOCKSTEP, LOCKSTEP, column
from speed.sweep_costs import KINDS, RUNS, WITH_ALL
from speed.tables import (
    Results,
    above_floor,
    against,
    cached_above_floor,
    memory_per_student,
    of_solo,
    overhead_per_run,
    settings_of,
    sizes,
)
from speed.worker_times import ONE, SEEDS, TWO, WORK, of_one

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
# A command relative to another one.
START_BOUNDS = {(HELPED, COMPOSED): 1.5, (SECOND_IMAGES, SECOND_DIGITS): 2.0}
# The overhead of a run in a large sweep, relative to that in a small one.
FLAT_BOUND = 1.1
# Memory of a further student relative to its own state; the rest is the heap's order, by chance.
MEMORY_BOUND = 5.0
# Two workers relative to one.
WORKERS_BOUND = 0.58
# A command of 60 runs relative to that of the commit before this was built (e4fe4e7).
AGAINST_BOUND = 0.35


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
    samples = results.get("starts", {})
    for (name, other), bound in START_BOUNDS.items():
        if name in samples:
            yield Comparison(f"{name} / {other}", ratio(samples[name], samples[other]), bound)
    for key, by_count in results.get("memory", {}).items():
        measured = memory_per_student(by_count) / by_count["1"]["state"]
        title = f"{WORKS[key].name}: memory of a further student / its own state"
        yield Comparison(title, Spread.of([measured]), MEMORY_BOUND)
    yield from _of_commands(results)


def _of_commands(results: Results) -> Iterator[Comparison]:
    if costs := results.get("many"):
        base = overhead_per_run(costs, WITH_ALL, RUNS)
        for runs in sizes(costs):
            measured = ratio(overhead_per_run(costs, WITH_ALL, runs), base)
            title = f"overhead of a run, {runs} runs / {RUNS} runs"
            yield Comparison(title, measured, FLAT_BOUND)
    if samples := results.get("workers"):
        title = f"{WORK.name}, 9 runs x {SEEDS} seeds: {TWO} / {ONE}"
        yield Comparison(title, of_one(samples), WORKERS_BOUND)
    if samples := results.get("against"):
        for kind in KINDS:
            title = f"{RUNS} runs {kind}, this checkout / the other one"
            yield Comparison(title, against(samples, kind), AGAINST_BOUND)


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
