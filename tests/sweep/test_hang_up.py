"""A terminal that closes in the night ends a sweep as SIGTERM does."""

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from processes import SMALL, TRAIN, results

WORDS = ["T=1,4", "loss=kl", *SMALL, "trainer.epochs=100000", "tracking.report=false"]


def statuses(folder: Path) -> set[str]:
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("kdsweep")
    found = client.search_runs([experiment.experiment_id])
    return {run.info.status for run in found if run.data.tags["kdsweep.role"] != "teacher"}


def wait_for_epochs(folder: Path, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        rows = folder.glob("multirun/*/*/[01]/metrics.jsonl")
        if sum(path.stat().st_size > 0 for path in rows) == 2:
            return
        time.sleep(0.1)
    raise AssertionError("no epoch was trained")


@pytest.mark.slow
@pytest.mark.parametrize("output", ["terminal", "pipe"])
def test_a_closed_terminal_ends_open_runs_as_killed(tmp_path: Path, output: str) -> None:
    controller, terminal = pty.openpty() if output == "terminal" else os.pipe()
    with open(terminal, "wb", closefd=False) as out:
        process = subprocess.Popen(
            [sys.executable, str(TRAIN), *WORDS],
            cwd=tmp_path,
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    os.close(terminal)
    wait_for_epochs(tmp_path, process)
    os.close(controller)  # nothing can be written to it any more
    process.send_signal(signal.SIGHUP)
    time.sleep(0.05)
    process.send_signal(signal.SIGHUP)  # a shell and the kernel both send it
    assert process.wait(60) == 128 + signal.SIGHUP
    assert {result[0] for result in results(tmp_path).values()} == {"KILLED"}
    assert statuses(tmp_path) == {"KILLED"}


@pytest.mark.slow
@pytest.mark.parametrize("pause", [0.05, 0.6])
def test_a_second_signal_does_not_end_the_ending(tmp_path: Path, pause: float) -> None:
    process = subprocess.Popen(
        [sys.executable, str(TRAIN), *WORDS],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    wait_for_epochs(tmp_path, process)
    for _ in range(2):
        process.send_signal(signal.SIGTERM)
        time.sleep(pause)
    assert process.wait(60) == 128 + signal.SIGTERM
    assert {result[0] for result in results(tmp_path).values()} == {"KILLED"}
    assert statuses(tmp_path) == {"KILLED"}


@pytest.mark.slow
def test_nohup_goes_on(tmp_path: Path) -> None:
    process = subprocess.Popen(
        ["nohup", sys.executable, str(TRAIN), *WORDS],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        wait_for_epochs(tmp_path, process)
        process.send_signal(signal.SIGHUP)
        time.sleep(1.0)
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
