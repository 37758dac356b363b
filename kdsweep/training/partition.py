"""Which runs are trained together. Pure arithmetic; no training here.

The runs of a cohort share a stream and a teacher and never see each other. Peers, which do, are
one run here.
"""

from collections.abc import Hashable, Sequence
from typing import NamedTuple


class CohortKey(NamedTuple):
    """What decides a run's company."""

    shared: Hashable  # data set, trainer and seed
    teacher: Hashable | None  # None: no term of this run asks a teacher, so any company is right


def partition(needs: Sequence[CohortKey], capacity: int | None = None) -> list[list[int]]:
    """Split runs into as few cohorts as possible.

    Args:
        needs: one entry a run.
        capacity: most runs a cohort may hold; None for no limit.

    Returns:
        Cohorts of positions in `needs`: each position exactly once, rising within a cohort,
        cohorts in the order of their first run. No two runs of a cohort differ in `shared`, and
        those that ask a teacher ask the same one.

    Raises:
        ValueError: if capacity is below 1.
    """
    if capacity is not None and capacity < 1:
        raise ValueError(f"cohort_size must be null or at least 1, got {capacity}")
    groups: dict[tuple[Hashable, Hashable | None], list[int]] = {}
    first_teacher: dict[Hashable, Hashable] = {}
    for need in needs:
        if need.teacher is not None:
            first_teacher.setdefault(need.shared, need.teacher)
    for position, need in enumerate(needs):
        teacher = need.teacher if need.teacher is not None else first_teacher.get(need.shared)
        groups.setdefault((need.shared, teacher), []).append(position)
    size = capacity or max(len(needs), 1)
    return [
        group[start : start + size]
        for group in groups.values()
        for start in range(0, len(group), size)
    ]
