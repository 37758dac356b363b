"""Sweeps on a real Ray of this machine: the same bits as in one process, also if workers die."""

import contextlib
import os
import random
import signal
import time
from pathlib import Path

import pytest
from cluster_sweeps import README, SECONDS, SWEEP, assert_same, owners, wait_for
from processes import finish, recorded, start

pytest.importorskip("ray", reason="no Ray here: pip install 'kdsweep[ray]'")
pytestmark = pytest.mark.slow

ON_RAY = ["hydra/launcher=lockstep_ray"]
FAULTS = 10


def test_the_sweep_of_the_readme_is_the_same(tmp_path: Path) -> None:
    finish(tmp_path / "inline", README)
    finish(tmp_path / "ray", [*README, *ON_RAY, "hydra.launcher.cohort_size=5"])
    assert_same(tmp_path / "ray", tmp_path / "inline")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which SWEEP was trained by one process."""
    folder = tmp_path_factory.mktemp("inline")
    finish(folder, SWEEP)
    return folder


def test_workers_that_are_killed_lose_nothing(tmp_path: Path, whole: Path) -> None:
    folder, chance = tmp_path / "ray", random.Random(0)
    process = start(folder, [*SWEEP, *ON_RAY])
    for number in range(FAULTS):
        epochs = int(recorded(whole) * (number + chance.random()) / (FAULTS + 1))
        wait_for(process, lambda epochs=epochs: recorded(folder) >= epochs)
        for pid in owners(folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    message, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, message
    assert_same(folder, whole)


def test_a_controller_that_is_interrupted_or_killed_is_resumed(tmp_path: Path, whole: Path) -> None:
    words = [*SWEEP, *ON_RAY, "hydra.sweep.dir=multirun/mine"]
    for number, what in enumerate((signal.SIGINT, signal.SIGKILL), start=1):
        process = start(tmp_path, words)
        epochs = recorded(whole) * number // 3
        wait_for(process, lambda epochs=epochs: recorded(tmp_path) >= epochs)
        trained = owners(tmp_path)
        os.kill(process.pid, what)
        process.communicate()
        wait_until_gone(trained)
    finish(tmp_path, words)
    assert_same(tmp_path, whole)


def wait_until_gone(pids: list[int]) -> None:
    """Tasks end with their controller."""
    end = time.monotonic() + SECONDS
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < end
        time.sleep(0.1)
