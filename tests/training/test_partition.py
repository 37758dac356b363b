"""The partition of runs into cohorts, as properties."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdsweep.training.partition import CohortKey, partition

needs = st.builds(CohortKey, st.integers(0, 3), st.none() | st.sampled_from(["cnn", "vgg16"]))


@given(st.lists(needs, max_size=30), st.none() | st.integers(1, 5))
def test_each_run_is_in_exactly_one_cohort(runs: list[CohortKey], capacity: int | None) -> None:
    cohorts = partition(runs, capacity)
    assert sorted(position for cohort in cohorts for position in cohort) == list(range(len(runs)))


@given(st.lists(needs, max_size=30), st.none() | st.integers(1, 5))
def test_no_cohort_mixes_what_is_shared(runs: list[CohortKey], capacity: int | None) -> None:
    for cohort in partition(runs, capacity):
        assert len({runs[position].shared for position in cohort}) == 1
        teachers = {runs[position].teacher for position in cohort} - {None}
        assert len(teachers) <= 1


@given(st.lists(needs, max_size=30), st.none() | st.integers(1, 5))
def test_order_is_kept(runs: list[CohortKey], capacity: int | None) -> None:
    cohorts = partition(runs, capacity)
    assert all(cohort == sorted(cohort) for cohort in cohorts)
    if capacity is None:
        assert [cohort[0] for cohort in cohorts] == sorted(cohort[0] for cohort in cohorts)


@given(st.lists(needs, max_size=30), st.integers(1, 5))
def test_no_cohort_exceeds_the_capacity(runs: list[CohortKey], capacity: int) -> None:
    assert all(len(cohort) <= capacity for cohort in partition(runs, capacity))


@pytest.mark.ci
@given(st.lists(needs, max_size=30))
def test_cohorts_are_as_few_as_possible(runs: list[CohortKey]) -> None:
    groups = {(run.shared, run.teacher) for run in runs if run.teacher is not None}
    alone = {run.shared for run in runs} - {shared for shared, _ in groups}
    assert len(partition(runs)) == len(groups) + len(alone)


def test_a_run_without_a_teacher_joins_those_with_one() -> None:
    assert partition([CohortKey(0, None), CohortKey(0, "cnn"), CohortKey(0, "cnn")]) == [[0, 1, 2]]


def test_capacity_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"cohort_size must be null or at least 1, got 0"):
        partition([CohortKey(0, None)], 0)
