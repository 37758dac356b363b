"""Searches on real clusters of this machine: no trial is lost or trained twice."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_sweeps import SECONDS, attempts, owners, wait_for
from commands import UNDRAWN
from optuna.trial import TrialState
from processes import SMALL, assert_mlflow_is_tidy, finish, kill, recorded, results, start, trials
from slurm import Slurm, slurm

pytestmark = pytest.mark.slow

TRIALS = 6
SEARCH = [
    *["search=bayes", *SMALL, *UNDRAWN, "trainer.epochs=30", "tracking.checkpoint_seconds=0"],
    *[f"hydra.sweeper.n_trials={TRIALS}", "hydra.sweeper.n_jobs=2", "search.workers=2"],
    *["search.finalists=1", "search.finalist_seeds=1"],
]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slurm]:
    with slurm(cpus=2) as started:
        monkeypatch.setenv("SLURM_CONF", str(started.folder / "slurm.conf"))
        yield started


def assert_whole(folder: Path) -> None:
    """Each trial once; a teacher, the search, and runs of trials and a finalist in MLflow."""
    assert [row[:2] for row in trials(folder)] == [
        (number, TrialState.COMPLETE) for number in range(TRIALS)
    ]
    by_place = results(folder)
    assert len(by_place) == TRIALS + 1
    assert {result[0] for result in by_place.values()} == {"FINISHED"}
    assert_mlflow_is_tidy(folder, 1 + 1 + TRIALS + TRIALS + 1)


def test_on_slurm_whatever_happens_to_controller_and_worker(cluster: Slurm, tmp_path: Path) -> None:
    words = [*SEARCH, "hydra/launcher=lockstep_slurm"]
    process = start(tmp_path, words)
    wait_for(process, lambda: recorded(tmp_path) >= 20 and bool(owners(tmp_path)))
    kill(process)
    process.communicate()
    assert cluster.jobs(), "a job ends with its controller"
    process = start(tmp_path, words)
    wait_for(process, lambda: recorded(tmp_path) >= 80 and bool(owners(tmp_path)))
    for pid in owners(tmp_path):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    message, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, message
    assert_whole(tmp_path)
    # The controller that was killed has left units that were continued, not trained anew.
    assert len(attempts(tmp_path)) == 1 + TRIALS // 2 + 1


def test_on_ray(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="no Ray here: pip install 'kdsweep[ray]'")
    finish(tmp_path, [*SEARCH, "hydra/launcher=lockstep_ray"])
    assert_whole(tmp_path)
