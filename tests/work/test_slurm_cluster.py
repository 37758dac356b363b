"""Sweeps on a real Slurm of one node: the same bits as in one process, whatever happens to jobs.

The faults come at random moments of a sweep that trains.
"""

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from processes import (
    SMALL,
    assert_mlflow_is_tidy,
    finish,
    kill,
    mlflow_runs,
    recorded,
    results,
    runs_of,
    start,
    table,
)
from slurm import Slurm, slurm

from kdsweep.common.files import read_json

pytestmark = pytest.mark.slow

README = ["-m", "loss=kl", "T=1,4,16", "alpha=0.1,0.5,0.9"]
# Two cohorts, and the stage and the teacher that they need.
SWEEP = [
    *["-m", *SMALL, "student=cnn", "student.model.width=4", "T=1,4", "seed=0,1"],
    *["trainer.epochs=40", "tracking.checkpoint_seconds=0", "tracking.report=false"],
    *["stages=hints", "stages.hints.epochs=6", "teacher.model.width=4"],
]
ON_SLURM = ["hydra/launcher=lockstep_slurm"]
SECONDS = 300.0


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slurm]:
    with slurm(cpus=2) as started:
        monkeypatch.setenv("SLURM_CONF", str(started.folder / "slurm.conf"))
        yield started


@pytest.fixture(scope="module")
def inline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which SWEEP was trained by one process."""
    folder = tmp_path_factory.mktemp("inline")
    finish(folder, SWEEP)
    return folder


def assert_same(folder: Path, other: Path) -> None:
    """The same weights, table and MLflow runs; nothing lost, nothing twice."""
    assert results(folder) == results(other)
    assert table(folder) == table(other)
    assert mlflow_runs(folder) == mlflow_runs(other)
    assert_mlflow_is_tidy(folder, runs_of(other))


def test_the_sweep_of_the_readme_is_the_same(cluster: Slurm, tmp_path: Path) -> None:
    finish(tmp_path / "inline", README)
    finish(tmp_path / "slurm", [*README, *ON_SLURM, "hydra.launcher.cohort_size=5"])
    assert_same(tmp_path / "slurm", tmp_path / "inline")


def sweep_folder(folder: Path) -> Path:
    (note,) = folder.glob("multirun/**/sweep.json")
    return note.parent


def running(cluster: Slurm) -> list[str]:
    return [id for id, state in cluster.jobs().items() if state == "RUNNING"]


def owners(folder: Path) -> list[int]:
    """The processes that train units now."""
    pids = []
    for path in folder.glob("multirun/**/work/*.attempt-*.json"):
        with contextlib.suppress(ValueError, OSError):  # just being written
            attempt = read_json(path)
            if attempt["state"] == "running":
                pids.append(attempt["pid"])
    return pids


def scancel(cluster: Slurm, folder: Path) -> None:
    for job in running(cluster)[:1]:
        cluster.call("scancel", job)


def requeue(cluster: Slurm, folder: Path) -> None:
    for job in running(cluster)[:1]:
        with contextlib.suppress(AssertionError):  # it has just ended
            cluster.call("scontrol", "requeue", job)


def near_limit(cluster: Slurm, folder: Path) -> None:
    for job in running(cluster)[:1]:
        cluster.call("scancel", "--batch", "--signal=USR2", job)


def kill_worker(cluster: Slurm, folder: Path) -> None:
    for pid in owners(folder)[:1]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def kill_node(cluster: Slurm, folder: Path) -> None:
    cluster.kill_node()
    time.sleep(1.0)
    cluster.start_node()


Fault = Callable[[Slurm, Path], None]


@pytest.mark.parametrize("fault", [scancel, requeue, near_limit, kill_worker, kill_node])
def test_a_fault_of_a_job_or_a_node_loses_nothing(
    cluster: Slurm, tmp_path: Path, inline: Path, fault: Fault
) -> None:
    folder, chance = tmp_path / "slurm", random.Random(fault.__name__)
    moments = sorted(chance.random() for _ in range(5))
    process, whole = start(folder, [*SWEEP, *ON_SLURM]), recorded(inline)
    for moment in moments:
        wait_for(process, lambda moment=moment: recorded(folder) >= moment * whole)
        fault(cluster, folder)
    message, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, message
    assert_same(folder, inline)


def test_a_controller_that_is_killed_attaches_to_its_jobs(
    cluster: Slurm, tmp_path: Path, inline: Path
) -> None:
    folder, chance, whole = tmp_path / "slurm", random.Random(0), recorded(inline)
    words = [*SWEEP, *ON_SLURM, "hydra.sweep.dir=multirun/mine", "resume=true"]
    for moment in sorted(chance.random() for _ in range(5)):
        process = start(folder, words)
        wait_for(process, lambda moment=moment: recorded(folder) >= moment * whole)
        kill(process)
        process.communicate()
    finish(folder, words)
    assert_same(folder, inline)
    assert attempts(folder) == {1}  # no job was disturbed, no unit was trained by two


def attempts(folder: Path) -> set[int]:
    """How many attempts each unit of a sweep has had."""
    paths = list(folder.glob("multirun/**/work/*.attempt-*.json"))
    units = {path.name.partition(".")[0] for path in paths}
    return {sum(path.name.startswith(f"{unit}.") for path in paths) for unit in units}


def wait_for(process: "subprocess.Popen[str]", is_so: Callable[[], bool]) -> None:
    """Wait until something is so, while a command runs."""
    end = time.monotonic() + SECONDS
    while not is_so() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
