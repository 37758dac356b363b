"""Cohorts are split for idle workers where that saves time, and only there."""

from collections.abc import Sequence
from typing import Any

import pytest

from kdsweep.execution.worklist import WorkUnit
from kdsweep.sweeps.estimate import splitting
from kdsweep.sweeps.estimate.cost_model import CohortGroup
from kdsweep.sweeps.estimate.splitting import cohorts_for, makespan, split
from kdsweep.training.profiling import CohortProfile, StepTiming


def group(runs: int, *, cohorts: int = 1, teacher: float = 1.0, run: float = 1.0) -> CohortGroup:
    """Cohorts of one epoch of a step, of which data take no time."""
    steps = (StepTiming(0.0, teacher, (run,) * runs),)
    return CohortGroup(
        name="kl",
        role="run",
        left=((1,) * runs,) * cohorts,
        epochs=1,
        steps_per_epoch=1,
        measured=0,
        tested=0,
        prediction_bytes=0,
        needs_teacher=(True,) * runs,
        probe=CohortProfile(steps, (StepTiming(0.0, 0.0, (0.0,) * runs),), 1, (), None, None),
    )


@pytest.mark.parametrize(
    ("groups", "parts", "workers", "seconds"),
    [
        ([group(8)], 1, 2, 9.0),
        ([group(8)], 2, 2, 5.0),  # each part runs the teacher
        ([group(9)], 2, 2, 6.0),
        ([group(8, cohorts=2)], 1, 2, 9.0),
        ([group(8, cohorts=3)], 1, 2, 18.0),
        ([group(1)], 4, 4, 2.0),  # it has but one run
        ([group(8, teacher=10)], 2, 2, 14.0),
    ],
)
def test_the_time_until_all_parts_are_trained(
    groups: Sequence[CohortGroup], parts: int, workers: int, seconds: float
) -> None:
    assert makespan(groups, parts, workers) == pytest.approx(seconds)


def test_parts_are_of_almost_equal_size_and_in_order() -> None:
    unit: Any = WorkUnit(tuple(range(9)))  # type: ignore[arg-type]
    assert [part.targets for part in split(unit, 2)] == [(0, 1, 2, 3), (4, 5, 6, 7, 8)]
    assert [part.targets for part in split(unit, 20)] == [(number,) for number in range(9)]


class Context:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.progress = self

    def note(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Of sweeps long enough to be measured."""
    monkeypatch.setattr(splitting, "_steps", lambda units, context: 10_000)
    return Context()


def cohorts_of(
    monkeypatch: pytest.MonkeyPatch, context: Any, found: CohortGroup, workers: int
) -> list[int]:
    """The sizes of the cohorts that are made of these."""
    units = [WorkUnit(tuple(range(len(left)))) for left in found.left]  # type: ignore[arg-type]
    monkeypatch.setattr(splitting, "cohorts", lambda targets, capacity: units)
    monkeypatch.setattr(splitting, "measure_kinds", lambda units, context: [found])
    made = cohorts_for([], context, capacity=None, workers=workers)
    return [len(unit.targets) for unit in made]


@pytest.mark.ci
def test_a_cohort_is_split_for_an_idle_worker(
    monkeypatch: pytest.MonkeyPatch, context: Any
) -> None:
    assert cohorts_of(monkeypatch, context, group(9), 2) == [4, 5]
    assert context.lines == [
        "1 cohort for 2 workers: each is trained in 2 parts, 6.0 s instead of 10 s by measured"
        " steps"
    ]


@pytest.mark.slow
def test_it_is_trained_whole_if_its_teacher_takes_the_time(
    monkeypatch: pytest.MonkeyPatch, context: Any
) -> None:
    assert cohorts_of(monkeypatch, context, group(9, teacher=100), 2) == [9]
    (line,) = context.lines
    assert line.startswith("1 cohort for 2 workers: trained whole, 1 min 49 s by measured steps")


def test_nothing_is_measured_where_no_worker_is_idle(
    monkeypatch: pytest.MonkeyPatch, context: Any
) -> None:
    assert cohorts_of(monkeypatch, context, group(9, cohorts=2), 2) == [9, 9]
    assert cohorts_of(monkeypatch, context, group(1), 2) == [1]
    assert context.lines == []


def test_what_is_short_is_not_measured(monkeypatch: pytest.MonkeyPatch, context: Any) -> None:
    monkeypatch.setattr(splitting, "_steps", lambda units, context: 10)
    assert cohorts_of(monkeypatch, context, group(9), 2) == [9]
    assert context.lines == ["1 cohort for 2 workers: trained whole, too short to be measured"]
