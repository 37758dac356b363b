"""A closed terminal ends a sweep as SIGTERM does."""

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow import MlflowClient
from processes import SMALL, TRAIN, results

pytestmark = pytest.mark.slow

WORDS = ["T=1,4", "loss=kl", *SMALL, "trainer.epochs=100000", "tracking.report=false"]
SECONDS = 240  # for what takes a few on a machine that is not busy


@pytest.fixture(autouse=True)
def sighup_is_not_ignored() -> Iterator[None]:
    """These tests may have been started by nohup, and a child ignores what its parent ignores."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def statuses(folder: Path) -> set[str]:
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("kdsweep")
    runs = client.search_runs([experiment.experiment_id])
    return {run.info.status for run in runs if run.data.tags["kdsweep.role"] != "teacher"}


@contextmanager
def training(
    folder: Path, output: int = subprocess.DEVNULL, before: Sequence[str] = ()
) -> Iterator["subprocess.Popen[bytes]"]:
    """A sweep of two runs that have trained an epoch; it is killed if it is still running."""
    process = subprocess.Popen(
        [*before, sys.executable, str(TRAIN), *WORDS],
        cwd=folder,
        stdout=output,
        stderr=output,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        end = time.monotonic() + SECONDS
        while (
            sum(row.stat().st_size > 0 for row in folder.glob("multirun/*/*/?/metrics.jsonl")) < 2
        ):
            assert process.poll() is None, "it has ended"
            assert time.monotonic() < end, "no epoch was trained"
            time.sleep(0.1)
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("output", ["terminal", "pipe"])
def test_a_closed_terminal_ends_open_runs_as_killed(tmp_path: Path, output: str) -> None:
    controller, terminal = pty.openpty() if output == "terminal" else os.pipe()
    with training(tmp_path, terminal) as process:
        os.close(terminal)
        os.close(controller)  # nothing can be written to it any more
        process.send_signal(signal.SIGHUP)
        time.sleep(0.05)
        process.send_signal(signal.SIGHUP)  # a shell and the kernel both send it
        assert process.wait(SECONDS) == 128 + signal.SIGHUP
    assert {result[0] for result in results(tmp_path).values()} == {"KILLED"}
    assert statuses(tmp_path) == {"KILLED"}


@pytest.mark.parametrize("pause", [0.05, 0.6])
def test_a_second_signal_does_not_end_the_ending(tmp_path: Path, pause: float) -> None:
    with training(tmp_path) as process:
        for _ in range(2):
            process.send_signal(signal.SIGTERM)
            time.sleep(pause)
        assert process.wait(SECONDS) == 128 + signal.SIGTERM
    assert {result[0] for result in results(tmp_path).values()} == {"KILLED"}
    assert statuses(tmp_path) == {"KILLED"}


def test_nohup_keeps_a_sweep_running(tmp_path: Path) -> None:
    with training(tmp_path, before=["nohup"]) as process:
        process.send_signal(signal.SIGHUP)
        time.sleep(1.0)
        assert process.poll() is None
