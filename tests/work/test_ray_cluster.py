"""Sweeps on a real Ray of this machine: the same bits as in one process, also if workers die."""

import contextlib
import os
import random
import signal
from pathlib import Path

import pytest
from cluster_sweeps import README, SECONDS, SWEEP, assert_same, owners, wait_for
from processes import finish, recorded, start

pytest.importorskip("ray", reason="no Ray here: pip install 'kdsweep[ray]'")
pytestmark = pytest.mark.slow

ON_RAY = ["hydra/launcher=lockstep_ray"]
FAULTS = 5


def test_the_sweep_of_the_readme_is_the_same(tmp_path: Path) -> None:
    finish(tmp_path / "inline", README)
    finish(tmp_path / "ray", [*README, *ON_RAY, "hydra.launcher.cohort_size=5"])
    assert_same(tmp_path / "ray", tmp_path / "inline")


def test_workers_that_are_killed_lose_nothing(tmp_path: Path) -> None:
    whole, folder, chance = tmp_path / "inline", tmp_path / "ray", random.Random(0)
    finish(whole, SWEEP)
    process = start(folder, [*SWEEP, *ON_RAY])
    for moment in sorted(chance.random() for _ in range(FAULTS)):
        epochs = int(moment * recorded(whole))
        wait_for(process, lambda epochs=epochs: recorded(folder) >= epochs)
        for pid in owners(folder)[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    message, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, message
    assert_same(folder, whole)
