"""Whether cohorts are split so that no worker is idle, by the measured times of a few steps.

Each part of a cohort reads the images and runs the teacher for itself. So a cohort whose teacher
takes most of a step is trained in one piece, whatever the number of workers.
"""

import heapq
import math
from collections.abc import Sequence

from kdsweep.common.text import counted
from kdsweep.execution.context import TrainingContext
from kdsweep.execution.target import RunTarget
from kdsweep.execution.worklist import WorkUnit, cohorts
from kdsweep.sweeps.estimate.cost_model import CohortGroup, format_duration, seconds_of
from kdsweep.sweeps.estimate.probing import measure_kinds
from kdsweep.training.memory import release_memory
from kdsweep.training.profiling import STEPS, WARM_UP

LEAST_GAIN = 0.1  # of the time, for which a teacher's work is done several times
WORTH_STEPS = 10 * (WARM_UP + STEPS)  # fewer are trained before they are measured


def cohorts_for(
    targets: Sequence[RunTarget],
    context: TrainingContext,
    *,
    capacity: int | None,
    workers: int,
) -> list[WorkUnit]:
    """The cohorts of runs, split evenly if that saves time; a line about it if it might have.

    Args:
        capacity: most runs a cohort may hold; None for no limit.
        workers: how many are trained at the same time.

    Raises UserError if a run fails in its first steps, or a cohort does not fit into memory.
    """
    whole = cohorts(targets, capacity)
    most = max((len(unit.targets) for unit in whole), default=0)
    if len(whole) >= workers or most < 2:
        return whole
    what = f"{counted(len(whole), 'cohort')} for {counted(workers, 'worker')}"
    if _steps(whole, context) < WORTH_STEPS:
        context.progress.note(f"{what}: trained whole, too short to be measured")
        return whole
    groups = list(measure_kinds(whole, context))
    release_memory()
    times = {parts: makespan(groups, parts, workers) for parts in range(1, workers + 1)}
    best = min(times, key=times.__getitem__)
    took = format_duration(times[1])
    if best == 1 or times[best] > (1 - LEAST_GAIN) * times[1]:
        context.progress.note(
            f"{what}: trained whole, {took} by measured steps; the parts of a cohort would each run"
            " the teacher"
        )
        return whole
    context.progress.note(
        f"{what}: each is trained in {best} parts, {format_duration(times[best])} instead of {took}"
        " by measured steps"
    )
    return [part for unit in whole for part in split(unit, best)]


def split(unit: WorkUnit, parts: int) -> list[WorkUnit]:
    """A cohort in so many parts of almost equal size; in fewer if it has fewer runs."""
    targets, parts = unit.targets, min(parts, len(unit.targets))
    bounds = [len(targets) * part // parts for part in range(parts + 1)]
    return [WorkUnit(targets[bounds[i] : bounds[i + 1]]) for i in range(parts)]


def makespan(groups: Sequence[CohortGroup], parts: int, workers: int) -> float:
    """Seconds until all cohorts are trained, each in so many parts, the longest part first."""
    times: list[float] = []
    for group in groups:
        for left in group.left:
            pieces = min(parts, len(left))
            bounds = [len(left) * part // pieces for part in range(pieces + 1)]
            for piece in range(pieces):
                members = range(bounds[piece], bounds[piece + 1])
                times.append(seconds_of(group, [(left, members)]).middle)
    ends = [0.0] * workers
    for seconds in sorted(times, reverse=True):
        heapq.heapreplace(ends, ends[0] + seconds)
    return max(ends)


def _steps(units: Sequence[WorkUnit], context: TrainingContext) -> int:
    """The steps of the longest cohort that are left."""
    return max(max(unit.epochs_left) * _steps_per_epoch(unit, context) for unit in units)


def _steps_per_epoch(unit: WorkUnit, context: TrainingContext) -> int:
    config = unit.specs[0].config
    images = len(context.dataset(config).train.labels)
    return math.ceil(images / config.trainer.batch_size)
