"""The time of calls that are compared with each other, on a machine that may be busy.

All are timed in turns, so that a varying load of the machine affects all of them alike; only
figures of one measurement can be compared.
"""

import time
from collections.abc import Callable, Mapping
from statistics import median

WARM_UP = 3  # uncounted calls, in which caches are filled and kernels chosen
TURN = 0.005  # minimum seconds of one turn: the other calls have emptied the caches
SECONDS = 1.0  # of measurement for each call
LEAST_ROUNDS = 5


def interleaved(
    calls: Mapping[str, Callable[[], object]], seconds: float | None = None
) -> dict[str, float]:
    """The seconds of each call: the median over rounds, in each of which every call has a turn.

    Args:
        seconds: about how long the measurement takes for each call; by default `SECONDS`.
    """
    counts = {name: _calls_per_turn(call) for name, call in calls.items()}
    times: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    ends = time.perf_counter() + (SECONDS if seconds is None else seconds) * len(calls)
    while len(times[names[-1]]) < LEAST_ROUNDS or time.perf_counter() < ends:
        for name in names:
            calls[name]()  # brings its weights back into the caches
            times[name].append(_mean_time(calls[name], counts[name]))
    return {name: median(timed) for name, timed in times.items()}


def _calls_per_turn(call: Callable[[], object]) -> int:
    for _ in range(WARM_UP):
        call()
    return max(1, round(TURN / max(_mean_time(call, 1), 1e-7)))


def _mean_time(call: Callable[[], object], count: int) -> float:
    started = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - started) / count
