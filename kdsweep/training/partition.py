"""Partition of runs into cohorts.

The runs of a cohort share a stream and a teacher, and do not affect each other. A run with peers
counts as one run here.
"""

from collections.abc import Hashable, Sequence
from typing import NamedTuple


class CohortKey(NamedTuple):
    """Runs with equal keys can be trained in one cohort."""

    shared: Hashable  # data set, trainer and seed
    teacher: Hashable | None  # None: no term of this run needs one, so that any cohort will do


def partition(keys: Sequence[CohortKey], capacity: int | None = None) -> list[list[int]]:
    """Split runs into as few cohorts as possible, of at most ``capacity`` runs (None: no limit).

    Returns cohorts of positions in `keys`: each position exactly once, rising within a cohort,
    cohorts in the order of their first run. No two runs of a cohort differ in `shared`, and those
    that need a teacher need the same one. Raises ValueError if capacity is below 1.
    """
    if capacity is not None and capacity < 1:
        raise ValueError(f"cohort_size must be null or at least 1, got {capacity}")
    groups: dict[tuple[Hashable, Hashable | None], list[int]] = {}
    first_teacher: dict[Hashable, Hashable] = {}
    for key in keys:
        if key.teacher is not None:
            first_teacher.setdefault(key.shared, key.teacher)
    for position, key in enumerate(keys):
        teacher = key.teacher if key.teacher is not None else first_teacher.get(key.shared)
        groups.setdefault((key.shared, teacher), []).append(position)
    size = capacity or max(len(keys), 1)
    return [
        group[start : start + size]
        for group in groups.values()
        for start in range(0, len(group), size)
    ]
