"""Runs that stop early: what a controller is shown of their epochs, and how a worker stops them."""

import math
from collections.abc import Mapping

import pytest
from commands import Targets

from kdsweep.common.files import read_json, write_json_atomic
from kdsweep.execution.target import RunTarget
from kdsweep.runs.spec import RunSpec
from kdsweep.tracking.run_dir import append_row, make_row
from kdsweep.work.pruning import REQUEST, EpochReports, PruneRequests

Report = tuple[str, int, float]


class Decisions:
    """Notes what it is called with; prunes runs below a bound."""

    def __init__(self) -> None:
        self.seen: list[Report] = []

    def __call__(self, spec: RunSpec, epochs: int, metrics: Mapping[str, float]) -> str | None:
        self.seen.append((spec.name, epochs, metrics["val/acc"]))
        return "too low" if metrics["val/acc"] < 0.5 else None


def record(run: RunTarget, epoch: int, acc: float) -> None:
    run.run_dir.mkdir(exist_ok=True)
    append_row(run.run_dir, make_row(epoch, 0, {"val/acc": acc}))


@pytest.fixture
def run(targets: Targets) -> RunTarget:
    (target,) = targets(["loss=ce", "trainer.epochs=4"])
    return target


def is_requested(run: RunTarget) -> bool:
    return (run.run_dir / REQUEST).is_file()


def test_each_epoch_is_reported_once(run: RunTarget) -> None:
    decisions = Decisions()
    reports = EpochReports(decisions)
    record(run, 0, 0.6)  # by an earlier attempt
    reports.follow([run])
    reports.look()
    reports.look()
    record(run, 1, 0.7)
    reports.look()
    assert [(epochs, acc) for _, epochs, acc in decisions.seen] == [(1, 0.6), (2, 0.7)]
    assert not is_requested(run)


def test_what_is_decided_is_requested_in_the_folder_of_the_run(run: RunTarget) -> None:
    reports = EpochReports(Decisions())
    reports.follow([run])
    record(run, 0, 0.4)
    reports.look()
    assert read_json(run.run_dir / REQUEST) == {"reason": "too low", "epochs": 1}


def test_a_value_that_is_not_finite_is_nan(run: RunTarget) -> None:
    decisions = Decisions()
    reports = EpochReports(decisions)
    reports.follow([run])
    record(run, 0, math.nan)
    reports.look()
    assert math.isnan(decisions.seen[0][2])


def test_of_a_run_that_is_over_the_rest_is_reported_and_nothing_requested(run: RunTarget) -> None:
    decisions = Decisions()
    reports = EpochReports(decisions)
    reports.follow([run])
    record(run, 3, 0.1)
    reports.release([run])
    assert decisions.seen == [(run.spec.name, 4, 0.1)]
    assert not is_requested(run)
    record(run, 4, 0.1)
    reports.look()
    assert len(decisions.seen) == 1


def test_a_worker_prunes_what_is_requested_but_not_after_the_last_epoch(run: RunTarget) -> None:
    callback = PruneRequests([run])
    run.run_dir.mkdir()
    assert callback(run.spec, 1, {}) is None
    write_json_atomic(run.run_dir / REQUEST, {"reason": "too low", "epochs": 2})
    assert callback(run.spec, 1, {}) is None  # it was set back to an earlier checkpoint
    assert callback(run.spec, 2, {}) == "pruned after epoch 2 of 4"
    assert callback(run.spec, 4, {}) is None
