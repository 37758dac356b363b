"""TensorBoard event files in a run's folder, read back with TensorBoard's own reader."""

import sys
from pathlib import Path

import pytest
from commands import Command

from kdsweep.tracking.recorder import TENSORBOARD, Recorder, RunInfo
from kdsweep.tracking.result import RunResult


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def test_a_resumed_run_replaces_the_epochs_it_repeats(tmp_path: Path) -> None:
    info = RunInfo(name="ce", role="run", fingerprint="f00d", cell="ce", seed=0, params={}, tags={})
    first = Recorder(tmp_path, tensorboard=True)
    first.start(info)
    for epoch in range(3):
        first.epoch(epoch, {"val/acc": epoch / 10})
    first.finish(RunResult(status="KILLED"))
    again = Recorder(tmp_path, tensorboard=True)
    again.start(info, resume_epoch=2)
    again.epoch(2, {"val/acc": 0.5})
    again.finish(RunResult(status="FINISHED"))
    found = scalars(tmp_path / TENSORBOARD)["val/acc"]
    assert [step for step, _ in found] == [0, 1, 2]
    assert found[-1][1] == 0.5


@pytest.mark.ci
def test_a_sweep_writes_them_if_enabled(command: Command) -> None:
    outcome = command("T=1,4", "tracking.tensorboard=true")
    assert outcome.code == 0, outcome.err
    folders = sorted(outcome.folder.glob(f"multirun/*/*/[01]/{TENSORBOARD}"))
    assert len(folders) == 2
    found = scalars(folders[0])
    assert [step for step, _ in found["train/kl"]] == [0, 1]
    assert {"train/loss", "val/acc", "test/acc"} <= set(found)


def test_the_cure_is_named_where_tensorboard_is_missing(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    outcome = command("tracking.tensorboard=true")
    assert outcome.code == 1
    assert "pip install 'kdsweep[tensorboard]'" in outcome.err
    assert "Traceback" not in outcome.err
