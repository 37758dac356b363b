"""A job near its time limit: the unit is parked, and Slurm is to start the job again."""

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdsweep.work.stopping import Parked, Stopping
from kdsweep.work.time_limit import LEAD, TimeLimit, epochs_trained
from kdsweep.work.unit_file import UnitFile, UnitRun, write_unit


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Iterator[TimeLimit]:
    """Of a job whose signal comes 100 s before its limit, in an epoch with 74 s left."""
    monkeypatch.setenv(LEAD, "100")
    before = signal.getsignal(signal.SIGUSR2)
    stopping = Stopping(lambda: 74.0, clock=lambda: 0.0)
    epochs = iter(range(100))  # more whenever they are counted
    yield TimeLimit(stopping, lambda: next(epochs))
    signal.signal(signal.SIGUSR2, before)


def scontrol(folder: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> Path:
    """A program that writes down what it is called with; returns the file."""
    program, written = folder / "scontrol", folder / "written"
    program.write_text(f'#!/bin/sh\necho "$@" > {written}\nexit {code}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    return written


def test_the_signal_parks_the_unit_at_the_end_of_its_epoch(limit: TimeLimit) -> None:
    stopping = limit._stopping
    os.kill(os.getpid(), signal.SIGUSR2)
    assert stopping.is_requested
    stopping.at_step()  # 74 s are less than three quarters of 100 s
    with pytest.raises(Parked):
        stopping.at_epoch()


def test_an_epoch_that_ends_too_late_is_not_waited_for(
    limit: TimeLimit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LEAD, "98")
    os.kill(os.getpid(), signal.SIGUSR2)
    with pytest.raises(Parked):
        limit._stopping.at_step()


def test_the_job_is_queued_again(
    limit: TimeLimit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = scontrol(tmp_path, monkeypatch, 0)
    limit.requeue()
    assert not written.exists()  # it was parked by another signal
    os.kill(os.getpid(), signal.SIGUSR2)
    limit.requeue()
    assert written.read_text() == "requeue 4711\n"


def test_a_job_in_which_no_epoch_was_trained_is_not_queued_again(
    limit: TimeLimit,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    written = scontrol(tmp_path, monkeypatch, 0)
    monkeypatch.setattr(limit, "_epochs", lambda: 0)
    os.kill(os.getpid(), signal.SIGUSR2)
    with caplog.at_level(logging.WARNING):
        limit.requeue()
    assert "the time limit of job 4711 is near, and no epoch has been trained" in caplog.text
    assert not written.exists()


def test_where_slurm_refuses_that_a_warning_leaves_it_to_the_controller(
    limit: TimeLimit,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    scontrol(tmp_path, monkeypatch, 1)
    os.kill(os.getpid(), signal.SIGUSR2)
    with caplog.at_level(logging.WARNING):
        limit.requeue()
    assert "job 4711 is not queued again, its controller has to do so" in caplog.text


def test_a_process_that_is_no_job_is_only_parked(
    limit: TimeLimit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = scontrol(tmp_path, monkeypatch, 0)
    monkeypatch.delenv("SLURM_JOB_ID")
    os.kill(os.getpid(), signal.SIGUSR2)
    limit.requeue()
    assert not written.exists()


def test_epochs_are_those_of_the_checkpoints(tmp_path: Path) -> None:
    runs = [
        UnitRun(
            name="", fingerprint="f", folder=name, further=(), epochs=9, parent_run_id=None, root=0
        )
        for name in ("a", "b")
    ]
    unit = UnitFile(
        number=3,
        role="run",
        name="",
        needs=(),
        place=(1, 1),
        cwd="",
        parent_run_id=None,
        roots=(),
        runs=tuple(runs),
    )
    write_unit(tmp_path, unit)
    assert epochs_trained(tmp_path, 3) == 0
    for name, epoch in (("a", 4), ("a", 5), ("b", 2)):
        path = tmp_path / name / "checkpoint" / f"epoch-{epoch:04d}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert epochs_trained(tmp_path, 3) == 7
