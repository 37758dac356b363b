"""Units of runs that are added one after the other, by one controller or by several."""

from collections.abc import Sequence
from pathlib import Path

from commands import Targets

from kdsweep.execution.target import RunTarget, SweepLocation
from kdsweep.execution.worklist import WorkUnit, cohorts
from kdsweep.work import attempt
from kdsweep.work.attempt import Attempt, latest
from kdsweep.work.graph import UnitGraph
from kdsweep.work.planning import UnitPlanner
from kdsweep.work.unit_file import numbers, read_unit
from kdsweep.work.unit_specs import UnitRecorder


def whole(runs: Sequence[RunTarget]) -> list[WorkUnit]:
    return cohorts(runs, None)


def planner(folder: Path) -> UnitPlanner:
    """The planner of a controller."""
    sweep = SweepLocation(folder)
    return UnitPlanner(UnitGraph(sweep), sweep, UnitRecorder(sweep, Path.cwd()))


def test_a_teacher_is_planned_once_for_all_that_are_added(targets: Targets, tmp_path: Path) -> None:
    first, second = targets(["T=1"], ["T=4"])
    mine = planner(tmp_path)
    mine.add([first], whole)
    mine.add([second], whole)
    assert [read_unit(tmp_path, number).role for number in numbers(tmp_path)] == [
        *["teacher", "run", "run"]
    ]
    assert [read_unit(tmp_path, number).needs for number in (1, 2)] == [(0,), (0,)]
    assert mine.graph.take(3) == [0]
    mine.graph.end(0)
    assert mine.graph.take(3) == [1, 2]


def test_controllers_of_one_search_have_units_of_different_numbers(
    targets: Targets, tmp_path: Path
) -> None:
    runs = targets(*(["loss=ce", f"seed={seed}"] for seed in range(4)))
    mine, other = planner(tmp_path), planner(tmp_path)
    for position, one in enumerate([mine, other, other, mine]):
        one.add([runs[position]], whole)
    assert ([*mine.graph.units], [*other.graph.units]) == ([0, 3], [1, 2])
    assert all(latest(tmp_path, number) is None for number in numbers(tmp_path)), "one was left"


def test_what_a_controller_has_left_is_continued_by_another_one(
    targets: Targets, tmp_path: Path
) -> None:
    """Also if it was planned after the other one had begun."""
    first, second = targets(["loss=ce"], ["loss=ce", "seed=1"])
    mine, gone = planner(tmp_path), planner(tmp_path)
    mine.add([first], whole)
    gone.add([second], whole)
    assert Attempt.make(tmp_path, 1, 1) is not None
    mine.add([second], whole)
    assert numbers(tmp_path) == [0, 1]
    assert [*mine.graph.units] == [0, 1]


def test_a_unit_of_other_runs_as_well_is_left(targets: Targets, tmp_path: Path) -> None:
    runs = targets(["loss=ce", "optimizer.lr=0.1"], ["loss=ce", "optimizer.lr=0.2"])
    gone = planner(tmp_path)
    gone.add(runs, whole)
    mine = planner(tmp_path)
    mine.add(runs[:1], whole)
    assert [*mine.graph.units] == [1]
    assert latest(tmp_path, 0).state == attempt.WITHDRAWN  # type: ignore[union-attr]
