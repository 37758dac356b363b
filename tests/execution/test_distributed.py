"""Sweeps on two devices, and a process that dies. tests/gpu/test_devices.py compares their bits."""

import multiprocessing
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Command, Refusal
from processes import SMALL, start

from kdsweep.errors import RunFailed
from kdsweep.execution.distributed import device_group, lost_process_named, reason_of_end
from kdsweep.execution.run_writer import RunWriter
from kdsweep.training.device_group import SINGLE, DeviceGroup, ProcessLost

TWO = ["trainer.devices=2", "student=cnn"]
KEYS = ("val/acc", "val/loss", "val/agreement", "test/acc", "weights_sha256", "status", "epochs")


def table(rows: list[dict[str, Any]]) -> list[list[Any]]:
    return [[row[key] for key in KEYS] for row in rows]


@pytest.mark.slow
def test_two_devices_are_another_run_with_nearly_the_same_numbers(command: Command) -> None:
    one, two = (
        command("T=1,4", f"trainer.devices={count}", f"hydra.sweep.dir=multirun/{count}").rows
        for count in (1, 2)
    )
    for row, other in zip(one, two, strict=True):
        assert row["fingerprint"] != other["fingerprint"]
        assert row["weights_sha256"] != other["weights_sha256"]
        assert row["val/loss"] == pytest.approx(other["val/loss"], rel=1e-3)


@pytest.mark.slow
def test_a_killed_process_ends_the_run_in_one_sentence_and_it_resumes(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*TWO, "T=1,4", "trainer.epochs=3", "tracking.checkpoint_seconds=0"]
    whole = table(command(*words, "hydra.sweep.dir=multirun/whole").rows)
    epoch = RunWriter.epoch

    def killing(self: RunWriter, metrics: dict[str, float]) -> None:
        epoch(self, metrics)
        if self.spec.role == "run" and self.student.epoch == 2:
            (other,) = multiprocessing.active_children()
            os.kill(int(other.pid or 0), signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(RunWriter, "epoch", killing)
        ended = command(*words, "hydra.sweep.dir=multirun/parts")
    assert ended.code == 1
    sentence = (
        "process 1 of the 2 of trainer.devices=2 was ended by signal 9; resume=true continues from"
        " the last checkpoint"
    )
    assert sentence in " ".join(ended.err.split())
    assert "Traceback" not in ended.err
    assert multiprocessing.active_children() == []
    assert list(ended.sweep.glob("*/checkpoint/epoch-000[12].safetensors"))
    resumed = command(*words, "hydra.sweep.dir=multirun/parts", "resume=true")
    assert resumed.code == 0, resumed.err
    assert resumed.sweep.name == "parts"
    assert table(resumed.rows) == whole


@pytest.mark.slow
def test_the_others_end_when_the_first_process_is_killed(tmp_path: Path) -> None:
    words = [*SMALL, *TWO, "trainer.epochs=100000", "tracking=none"]
    with start(tmp_path / "sweep", words) as process:
        try:
            until = time.monotonic() + 120
            sweeps = tmp_path / "sweep" / "multirun"
            while not list(sweeps.glob("**/metrics.jsonl")) and time.monotonic() < until:
                time.sleep(0.2)
            tasks = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            children = tasks.read_text().split()
            assert children
            process.kill()
            until = time.monotonic() + 20
            while any(map(_runs, children)) and time.monotonic() < until:
                time.sleep(0.1)
            assert not any(map(_runs, children))
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _runs(pid: str) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_one_device_needs_no_other_process() -> None:
    class Spec:
        class config:
            class trainer:
                devices = 1

    with device_group([Spec], None) as group:  # type: ignore[list-item, arg-type]
        assert group is SINGLE


@pytest.mark.parametrize(
    ("code", "left", "kind", "how"),
    [
        (-9, None, RunFailed, "was ended by signal 9"),
        (3, None, RunFailed, "ended with code 3"),
        (1, "error ValueError: bad", RunFailed, "failed: ValueError: bad"),
        (1, "memory CUDA out of memory", torch.OutOfMemoryError, "CUDA out of memory"),
    ],
)
def test_why_a_process_has_ended(
    tmp_path: Path, code: int, left: str | None, kind: type[Exception], how: str
) -> None:
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    if left is not None:
        store.set("failure/1", left)
    reason = reason_of_end(store, 1, code, 2)
    assert type(reason) is kind
    assert how in str(reason)
    assert kind is torch.OutOfMemoryError or "trainer.devices=2" in str(reason)


def test_why_a_process_has_ended_replaces_what_follows_from_it() -> None:
    reason = torch.OutOfMemoryError("no memory")
    group = DeviceGroup(0, 2, lost=lambda: reason)
    with pytest.raises(torch.OutOfMemoryError, match="no memory"), lost_process_named(group):
        raise RuntimeError("connection reset by peer")
    with pytest.raises(torch.OutOfMemoryError, match="no memory"), lost_process_named(group):
        group.raise_if_lost()
    with pytest.raises(ProcessLost):
        group.raise_if_lost()
    with pytest.raises(RuntimeError, match="its own"), lost_process_named(SINGLE):
        raise RuntimeError("its own")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trainer.devices=0"], "trainer.devices must be at least 1, got 0"),
        (["trainer.devices=5000"], "trainer.devices must be at most 1024, got 5000"),
        (
            ["trainer.devices=2", "trainer.batch_size=3"],
            "trainer.batch_size must be at least 4 with trainer.devices=2, two images for each,"
            " got 3",
        ),
        (
            ["trainer.devices=1000", "trainer.batch_size=2000", "trainer.device=cpu"],
            "trainer.devices must be at most",
        ),
        (
            ["teacher.trainer.devices=2", "teacher.trainer.batch_size=2"],
            "teacher.trainer.batch_size must be at least 4 with teacher.trainer.devices=2",
        ),
    ],
)
def test_devices_that_cannot_be_used_are_refused(
    refusal: Refusal, words: list[str], message: str
) -> None:
    assert message in " ".join(refusal(*words).split())
