"""Units are ready once their inputs are over; what fails takes out only what needs it."""

from pathlib import Path

import pytest
from commands import Targets

from kdsweep.execution.target import RunTarget, SweepLocation
from kdsweep.execution.worklist import pending
from kdsweep.work import graph as graphs
from kdsweep.work.graph import UnitGraph


def graph_of(runs: list[RunTarget], folder: Path, capacity: int | None = None) -> UnitGraph:
    sweep = SweepLocation(folder)
    graph = UnitGraph(sweep)
    for unit in pending(runs, sweep, capacity):
        graph.add(unit)
    return graph


def roles(graph: UnitGraph, numbers: list[int]) -> list[str]:
    return [graph.units[number].role for number in numbers]


def test_a_cohort_is_ready_once_its_teacher_is_over(targets: Targets, tmp_path: Path) -> None:
    graph = graph_of(targets(["T=1"], ["T=4"], ["loss=ce", "seed=1"]), tmp_path, 2)
    first = graph.take(5)
    assert roles(graph, first) == ["teacher", "run"]  # the latter needs no teacher
    assert graph.take(5) == []
    assert graph.needs(1) == [0]
    graph.end(first[0])
    assert roles(graph, graph.take(5)) == ["run"]


def test_stages_wait_for_their_teacher_and_runs_for_their_stage(
    targets: Targets, tmp_path: Path
) -> None:
    graph = graph_of(targets(["teacher=assistant", "stages=hints"]), tmp_path)
    order = []
    while graph.units:
        (number,) = graph.take(5)
        order.append(graph.units[number].role)
        graph.end(number)
    assert order == ["teacher", "assistant", "stage", "run"]


@pytest.mark.ci
def test_a_failed_teacher_takes_out_what_needs_it_alone(targets: Targets, tmp_path: Path) -> None:
    runs = targets(["T=1"], ["loss=ce"], ["teacher.seed=1", "seed=2"])
    graph = graph_of(runs, tmp_path)
    assert [len(unit.targets) for unit in graph.units.values()] == [1, 2, 1, 1]
    first = graph.take(1)[0]
    lost = graph.fail(first)
    assert [target.run_dir.name for target in lost] == ["0"]
    assert graph.changed == {1}
    assert [target.run_dir.name for target in graph.units[1].targets] == ["1"]
    left = graph.take(5)
    assert roles(graph, left) == ["run", "teacher"]  # ce needs none; the other one's teacher
    assert graph.needs(3) == [2]


@pytest.mark.ci
def test_what_needs_it_indirectly_is_taken_out_too(targets: Targets, tmp_path: Path) -> None:
    words = ["teacher=assistant", "stages=hints"]
    graph = graph_of(targets([*words, "T=1"], [*words, "T=4"], ["loss=ce"]), tmp_path)
    lost = graph.fail(graph.take(1)[0])  # the assistant's teacher
    assert [target.spec.role for target in lost] == ["assistant", "stage", "run", "run"]
    assert [unit.specs[0].config.loss_name for unit in graph.units.values()] == ["ce"]
    assert len(graph.take(5)) == 1


def test_only_what_waits_for_a_failed_unit_is_looked_at(
    targets: Targets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of units may fail, of thousands."""
    runs = targets(["T=1"], *(["loss=ce", f"seed={seed}"] for seed in range(3)))
    graph, looked_at = graph_of(runs, tmp_path, 1), []
    find = graphs.inputs

    def noted(target: RunTarget, sweep: SweepLocation | None) -> tuple[RunTarget, ...]:
        looked_at.append(target.run_dir.name)
        return find(target, sweep)

    monkeypatch.setattr(graphs, "inputs", noted)
    for number in graph.take(5):
        graph.fail(number)
    assert looked_at == ["0"]
    assert not graph.units


def test_units_are_taken_in_their_order(targets: Targets, tmp_path: Path) -> None:
    graph = graph_of(targets(*(["loss=ce", f"seed={seed}"] for seed in range(3))), tmp_path)
    assert graph.take(2) == [0, 1]
    assert graph.take(5) == [2]
