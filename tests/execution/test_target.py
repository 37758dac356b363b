"""When a run counts as finished where it is recorded."""

from pathlib import Path

import pytest
import torch
from commands import Targets

from kdsweep.common.files import write_json_atomic
from kdsweep.execution.target import (
    RunTarget,
    SweepLocation,
    finished_result,
    has_ended,
    recorded_result,
    stage_target,
)
from kdsweep.tracking.result import RunResult
from kdsweep.training.checkpoint import save_weights, sha256


@pytest.fixture
def ended(targets: Targets):
    """`ended(status="FAILED")`: a run that is recorded with this result, and with its weights."""
    (target,) = targets(["loss=ce"])

    def record(**values: object) -> RunTarget:
        network = torch.nn.Linear(2, 2)
        target.checkpoints.mkdir(parents=True)
        save_weights(target.weights, network)
        known = {"status": "FINISHED", "with_cohort": False}
        known |= {"fingerprint": target.spec.fingerprint, "weights_sha256": sha256(network)}
        result = RunResult.from_json(known | values)
        write_json_atomic(target.run_dir / "result.json", result.to_json())
        return target

    return record


def test_a_run_has_finished_with_its_result_and_the_weights_of_it(ended) -> None:
    target = ended()
    assert finished_result(target) == recorded_result(target)
    assert has_ended(target)
    target.weights.unlink()
    assert finished_result(target) is None
    assert recorded_result(target) is not None
    assert not has_ended(target)


def test_other_weights_are_passed_over_by_name(ended, caplog: pytest.LogCaptureFixture) -> None:
    target = ended(weights_sha256="0" * 64)
    assert finished_result(target) is None
    assert f"{target.weights} is passed over: it is not what was trained" in caplog.text


@pytest.mark.parametrize(
    ("values", "has"),
    [
        ({"status": "FAILED"}, True),
        ({"status": "FAILED", "with_cohort": True}, False),
        ({"status": "KILLED"}, False),
        ({"status": "PRUNED"}, False),
        ({"fingerprint": "another run"}, False),
    ],
)
def test_a_failure_of_its_own_is_an_end_and_a_kill_is_none(
    ended, values: dict[str, object], has: bool
) -> None:
    target = ended(**values)
    assert finished_result(target) is None
    assert has_ended(target) is has


def test_a_stage_lies_next_to_the_runs_of_its_sweep(targets: Targets, tmp_path: Path) -> None:
    (run,) = targets(["stages=hints"])
    stage = stage_target(run, SweepLocation(tmp_path, "parent"))
    assert stage is not None
    assert stage.run_dir == tmp_path / f"stage-{run.spec.stage.fingerprint}"
    assert stage.parent_run_id == "parent"
    assert stage_target(stage, None) is None
