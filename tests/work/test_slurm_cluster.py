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
from cluster_sweeps import README, SECONDS, SWEEP, assert_same, attempts, owners, wait_for
from processes import SMALL, finish, kill, recorded, start
from slurm import Slurm, slurm
from typer.testing import CliRunner

from kdsweep.cli import app
from kdsweep.common.files import read_json

pytestmark = pytest.mark.slow

ON_SLURM = ["hydra/launcher=lockstep_slurm"]
FAULTS = 10  # of a kind, in one sweep
LONG = [
    *["-m", *SMALL, "T=1,4", "trainer.epochs=1200", "tracking.report=false", "resume=true"],
]


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


def test_the_sweep_of_the_readme_is_the_same(cluster: Slurm, tmp_path: Path) -> None:
    finish(tmp_path / "inline", README)
    finish(tmp_path / "slurm", [*README, *ON_SLURM, "hydra.launcher.cohort_size=5"])
    assert_same(tmp_path / "slurm", tmp_path / "inline")
    assert attempts(tmp_path / "slurm") == {0: 1, 1: 1, 2: 1}  # the teacher, 5 and 4 runs


def test_without_arrays_it_is_the_same(cluster: Slurm, tmp_path: Path, inline: Path) -> None:
    finish(tmp_path, [*SWEEP, *ON_SLURM, "hydra.launcher.array_parallelism=null"])
    assert_same(tmp_path, inline)


def running(cluster: Slurm) -> list[str]:
    return [id for id, state in cluster.jobs().items() if state == "RUNNING"]


def scancel(cluster: Slurm, folder: Path) -> None:
    for job in running(cluster):
        cluster.call("scancel", job)


def requeue(cluster: Slurm, folder: Path) -> None:
    for job in running(cluster):
        with contextlib.suppress(AssertionError):  # it has just ended
            cluster.call("scontrol", "requeue", job)


def near_limit(cluster: Slurm, folder: Path) -> None:
    for job in running(cluster):
        cluster.call("scancel", "--batch", "--signal=USR2", job)


def kill_worker(cluster: Slurm, folder: Path) -> None:
    for pid in owners(folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def kill_node(cluster: Slurm, folder: Path) -> None:
    cluster.kill_node()
    time.sleep(1.0)
    cluster.start_node()


Fault = Callable[[Slurm, Path], None]


def moments(seed: str, whole: Path) -> list[int]:
    """Numbers of recorded epochs, at which faults come."""
    chance, epochs = random.Random(seed), recorded(whole)
    return [int(epochs * (number + chance.random()) / (FAULTS + 1)) for number in range(FAULTS)]


@pytest.mark.parametrize("fault", [scancel, requeue, near_limit, kill_worker, kill_node])
def test_a_fault_of_a_job_or_a_node_loses_nothing(
    cluster: Slurm, tmp_path: Path, inline: Path, fault: Fault
) -> None:
    process = start(tmp_path, [*SWEEP, *ON_SLURM])
    for epochs in moments(fault.__name__, inline):
        wait_for(process, lambda epochs=epochs: recorded(tmp_path) >= epochs)
        fault(cluster, tmp_path)
    message, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, message
    assert_same(tmp_path, inline)


def test_a_controller_that_is_killed_attaches_to_its_jobs(
    cluster: Slurm, tmp_path: Path, inline: Path
) -> None:
    words = [*SWEEP, *ON_SLURM, "hydra.sweep.dir=multirun/mine"]
    for epochs in moments("controller", inline):
        process = start(tmp_path, words)
        wait_for(process, lambda epochs=epochs: recorded(tmp_path) >= epochs)
        kill(process)
        process.communicate()
    finish(tmp_path, words)
    assert_same(tmp_path, inline)
    assert set(attempts(tmp_path).values()) == {1}  # no job was disturbed, no unit trained twice


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which LONG was trained by one process."""
    folder = tmp_path_factory.mktemp("long")
    finish(folder, LONG)
    return folder


def test_a_job_that_exceeds_its_time_goes_on_in_another_one(
    cluster: Slurm, tmp_path: Path, long: Path
) -> None:
    # The shortest limit that Slurm has; the signal comes after about half a minute.
    finish(tmp_path, [*LONG, *ON_SLURM, "hydra.launcher.time=1m", "hydra.launcher.lead=30s"])
    assert_same(tmp_path, long)
    assert max(attempts(tmp_path).values()) > 1, "no unit was near its limit"


def test_a_full_queue_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, inline: Path
) -> None:
    """Three jobs fill the queue until the sweep has printed that it waits."""
    full = "cannot be submitted yet: Slurm temporarily unable to accept job"
    seen = tmp_path / "seen"
    fill = f"for _ in $(seq {SECONDS:.0f}); do [ -e {seen} ] && exit; sleep 1; done"
    with slurm(cpus=4, MaxJobCount="4", MinJobAge="2") as small:
        monkeypatch.setenv("SLURM_CONF", str(small.folder / "slurm.conf"))
        for _ in range(3):
            small.call("sbatch", "--output=/dev/null", f"--wrap={fill}")
        lines = []
        with start(tmp_path, [*SWEEP, *ON_SLURM]) as process:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line)
                if full in line and not seen.exists():  # ended jobs count for a while, too
                    assert not attempts(tmp_path)
                    seen.touch()
        assert process.returncode == 0, "".join(lines)
    assert seen.exists(), "".join(lines)
    assert_same(tmp_path, inline)
    assert set(attempts(tmp_path).values()) == {1}


def test_a_detached_sweep_is_trained_without_a_controller(
    cluster: Slurm, tmp_path: Path, inline: Path
) -> None:
    finish(tmp_path, [*SWEEP, *ON_SLURM, "--detach"])
    (note,) = tmp_path.glob("multirun/**/sweep.json")
    end = time.monotonic() + SECONDS
    while cluster.jobs():
        assert time.monotonic() < end
        time.sleep(0.2)
    assert len(list(note.parent.glob("[0-9]/result.json"))) == 4
    done = CliRunner().invoke(app, ["attach", str(note.parent)])
    assert done.exit_code == 0, done.output
    assert_same(tmp_path, inline)
    assert set(attempts(tmp_path).values()) == {1}


def test_ctrl_c_ends_the_jobs_and_a_signal_leaves_them(
    cluster: Slurm, tmp_path: Path, long: Path
) -> None:
    words = [*LONG, *ON_SLURM, "hydra.sweep.dir=multirun/mine"]
    note = tmp_path / "multirun" / "mine" / "sweep.json"
    process = start(tmp_path, words)
    wait_for(process, lambda: recorded(tmp_path) >= recorded(long) // 12)
    message = ended_by(process, signal.SIGTERM)
    assert running(cluster), message
    assert "the jobs go on: `kdsweep attach " in message
    # Else the jobs may end before the command does. scancel sends SIGCONT ahead of SIGTERM.
    with paused(tmp_path):
        process = start(tmp_path, words)
        wait_for(process, lambda: read_json(note)["pid"] == process.pid)
        message = ended_by(process, signal.SIGINT)
    assert not running(cluster), message
    assert "the jobs go on" not in message
    finish(tmp_path, words)
    assert_same(tmp_path, long)
    assert attempts(tmp_path) == {0: 1, 1: 2}  # only Ctrl-C has stopped a job


def ended_by(process: "subprocess.Popen[str]", what: signal.Signals) -> str:
    """What a command has printed that a signal ends, once it has looked at the queue."""
    time.sleep(3.0)
    os.kill(process.pid, what)
    message, _ = process.communicate()
    return message


@contextlib.contextmanager
def paused(folder: Path) -> Iterator[None]:
    """Inside, the processes that train the units of a sweep stand still."""
    pids = owners(folder)
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
