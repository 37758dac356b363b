"""The list of what is still to be trained, from specs and the directories of their runs."""

from pathlib import Path

import pytest
from commands import Targets

from kdsweep.common.files import write_json_atomic
from kdsweep.execution.target import SweepLocation
from kdsweep.execution.worklist import WorkUnit, pending, split_finished
from kdsweep.tracking.result import RunResult


def roles(units: list[WorkUnit]) -> list[tuple[str, int]]:
    """The role of each unit, and the number of its runs."""
    return [(unit.role, len(unit.targets)) for unit in units]


def test_a_teacher_comes_directly_before_the_first_unit_that_needs_it(
    targets: Targets, tmp_path: Path
) -> None:
    runs = targets(
        ["teacher.seed=1", "T=1"], ["teacher.seed=2"], ["teacher.seed=1", "T=4"], ["loss=ce"]
    )
    units = pending(runs, SweepLocation(tmp_path), None)
    assert roles(units) == [("teacher", 1), ("run", 3), ("teacher", 1), ("run", 1)]


@pytest.mark.ci
def test_what_a_teacher_needs_comes_before_it_and_stages_before_runs(
    targets: Targets, tmp_path: Path
) -> None:
    runs = targets(["teacher=assistant"], ["teacher=assistant", "stages=hints"])
    units = pending(runs, SweepLocation(tmp_path), None)
    assert [role for role, _ in roles(units)] == ["teacher", "assistant", "stage", "run"]
    assert all(unit.epochs_left for unit in units)


def test_cohorts_hold_at_most_so_many_runs(targets: Targets, tmp_path: Path) -> None:
    runs = targets(*(["loss=kl", f"T={T}"] for T in range(1, 6)))
    units = pending(runs, SweepLocation(tmp_path), 2)
    assert roles(units) == [("teacher", 1), ("run", 2), ("run", 2), ("run", 1)]


def test_equal_runs_are_trained_once_and_finished_ones_not_again(
    targets: Targets, tmp_path: Path
) -> None:
    runs = targets(["T=1"], ["T=4"], ["T=1.0"])
    missing, finished = split_finished(runs)
    assert [target.spec.number for target in missing] == [0, 1]
    assert finished == {}
    (tmp_path / "1").mkdir()
    result = RunResult(status="FINISHED", fingerprint=runs[1].spec.fingerprint)
    write_json_atomic(tmp_path / "1" / "result.json", result.to_json())
    missing, finished = split_finished(runs)
    assert [target.spec.number for target in missing] == [0]
    assert set(finished) == {runs[1].spec.fingerprint}
