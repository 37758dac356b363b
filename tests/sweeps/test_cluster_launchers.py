"""`hydra/launcher=lockstep_slurm` from the command line, with Slurm's programs replaced by scripts.

`tests/work/test_slurm_cluster.py` has a real cluster.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from commands import Command, Outcome
from fake_slurm import FakeSlurm, fake_slurm
from processes import assert_mlflow_is_tidy, results, table
from typer.testing import CliRunner

from kdsweep.cli import app
from kdsweep.common.files import read_json
from kdsweep.work import slurm
from kdsweep.work.batch_script import name_prefix
from kdsweep.work.executor import Exit
from kdsweep.work.worker import Worker

GRID = ["T=1,4", "seed=0,1"]
ON_SLURM = ["hydra/launcher=lockstep_slurm", *GRID]


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    monkeypatch.setattr(slurm, "QUEUE_SECONDS", 0.0)
    (tmp_path / "slurm").mkdir()
    return fake_slurm(tmp_path / "slurm", monkeypatch)


def run_jobs(queue: FakeSlurm, folder: Path, lines: Sequence[str]) -> None:
    """Train the units of these jobs, as Slurm would."""
    here = Path.cwd()
    for line in lines:
        id, _, index, _, _ = line.split("|")
        state, reason = Worker(folder).run(int(index))
        assert (state, reason) == ("done", None)
        queue.set_state(id, "COMPLETED")
    os.chdir(here)


@pytest.fixture
def detached(command: Command, queue: FakeSlurm, own_teachers: str) -> Outcome:
    outcome = command(*ON_SLURM, own_teachers, "--detach", tracking=True)
    assert outcome.code == 0, outcome.err
    return outcome


def test_a_detached_sweep_is_in_the_queue_as_a_whole(
    detached: Outcome, queue: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher, students = queue.scripts
    assert "#SBATCH --array=0%256" in teacher
    assert "#SBATCH --array=1,2%256" in students
    assert "#SBATCH --dependency=afterok:1_0" in students
    assert "3 units in the queue" in detached.err + detached.out
    assert (
        f"kdsweep attach {detached.sweep.relative_to(detached.folder)}"
        in detached.err + detached.out
    )
    assert not read_json(detached.sweep / "sweep.json")["ended"]
    assert not list(detached.sweep.glob("*/result.json"))


@pytest.mark.ci
def test_attaching_publishes_what_the_jobs_have_trained(
    detached: Outcome, queue: FakeSlurm, trained: Command
) -> None:
    run_jobs(queue, detached.sweep, queue.queue)
    done = CliRunner().invoke(app, ["attach", str(detached.sweep)])
    assert done.exit_code == 0, done.output
    assert len(queue.scripts) == 2  # nothing was submitted again
    whole = trained(*GRID, tracking=True)
    assert results(detached.folder) == results(whole.folder)
    assert table(detached.folder) == table(whole.folder)
    assert_mlflow_is_tidy(detached.folder, 1 + 1 + 4)  # the sweep, the teacher, the runs


@pytest.mark.slow
def test_attaching_submits_what_has_no_job(detached: Outcome, queue: FakeSlurm) -> None:
    """The controller cannot end while its units wait, so it is stopped after it has submitted."""
    for id in ("1_0", "2_1", "2_2"):
        queue.set_state(id, "CANCELLED")
    submit = slurm.submit

    def stop(script: str) -> None:
        submit(script)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slurm, "submit", stop)
        CliRunner().invoke(app, ["attach", str(detached.sweep)])
    assert "#SBATCH --array=0%256" in queue.scripts[2]  # the teacher; the others need it


@pytest.mark.ci
@pytest.mark.parametrize(
    ("error", "are_cancelled"), [(KeyboardInterrupt(), True), (SystemExit(143), False)]
)
def test_what_stops_a_submission_ends_its_jobs_unless_it_is_a_signal(
    command: Command,
    queue: FakeSlurm,
    own_teachers: str,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    are_cancelled: bool,
) -> None:
    submit = slurm.submit

    def stop(script: str) -> None:
        submit(script)
        raise error

    monkeypatch.setattr(slurm, "submit", stop)
    outcome = command(*ON_SLURM, own_teachers, "--detach")
    assert outcome.code != 0
    assert len(queue.scripts) == 1
    assert queue.cancelled == (["1_0"] if are_cancelled else [])


@pytest.mark.ci
def test_a_refused_sweep_has_no_jobs_that_go_on(command: Command, queue: FakeSlurm) -> None:
    words = [ON_SLURM[0], "seed=0,1", "loss=fitnet", "loss.fitnet.pairs=[[layer9,stage1]]"]
    outcome = command(*words)
    assert outcome.code == 1
    assert "layer9" in outcome.err
    assert "go on" not in outcome.out + outcome.err
    assert not queue.scripts


def test_only_a_sweep_can_be_attached_to(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["attach", str(tmp_path)])
    assert done.exit_code == 1
    assert (
        done.output
        == f"FOLDER must be the folder of a sweep or a search with a sweep.json, got {tmp_path}\n"
    )


def test_detaching_needs_a_queue(command: Command) -> None:
    outcome = command(*GRID, "--detach")
    assert outcome.code == 1
    assert "hydra.launcher.detach" in outcome.err


@pytest.mark.ci
def test_bad_options_are_refused_before_anything_is_trained(
    command: Command, queue: FakeSlurm
) -> None:
    outcome = command(*ON_SLURM, "hydra.launcher.time=soon", "hydra.launcher.cpus=0")
    assert outcome.code == 1
    assert [line.partition(" must")[0] for line in outcome.err.splitlines()[-2:]] == [
        "hydra.launcher.cpus",
        "hydra.launcher.time",
    ]
    assert not queue.scripts


@pytest.mark.slow
def test_a_host_without_slurm_can_plan_a_sweep_for_it(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command(*ON_SLURM, "dry_run=true").code == 0
    outcome = command(*ON_SLURM)
    assert outcome.code == 1
    assert "on a host without Slurm, got lockstep_slurm: there is no sbatch" in outcome.err


@pytest.mark.slow
def test_ray_is_refused_where_it_is_not_installed(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    outcome = command("hydra/launcher=lockstep_ray", *GRID)
    assert outcome.code == 1
    assert outcome.err.splitlines()[-1] == (
        "hydra/launcher must be another one than lockstep_ray without the package ray, got"
        " lockstep_ray; pip install 'kdsweep[ray]'"
    )


SEARCH = ["hydra/launcher=lockstep_slurm", "search=bayes", "search.name=mine"]


@pytest.fixture
def run_at_once(queue: FakeSlurm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the jobs of the search `mine` run as soon as they are submitted."""
    submit = slurm.submit

    def submit_and_run(script: str) -> None:
        submit(script)
        waiting = [line for line in queue.queue if "|PENDING|" in line]
        run_jobs(queue, Path("multirun/mine").absolute(), waiting)

    monkeypatch.setattr(slurm, "submit", submit_and_run)


@pytest.mark.ci
@pytest.mark.usefixtures("run_at_once")
def test_the_trials_of_a_search_are_trained_by_jobs(
    command: Command, queue: FakeSlurm, own_teachers: str
) -> None:
    few = ["hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2", "search.finalists=1"]
    outcome = command(*SEARCH, *few, "search.finalist_seeds=1", own_teachers, tracking=True)
    assert outcome.code == 0, outcome.err
    assert "4 trials complete" in outcome.out
    assert len(queue.scripts) == 1 + 2 + 1  # the teacher, two blocks, the finalist
    assert "search.workers=N" in outcome.err  # one block at a time is little for a cluster
    by_place = results(outcome.folder)
    assert len(by_place) == 4 + 1
    assert_mlflow_is_tidy(outcome.folder, 1 + 1 + 4 + 5)  # teacher, search, trials, runs


def pending(queue: FakeSlurm) -> list[str]:
    return [line.partition("|")[0] for line in queue.queue if "|PENDING|" in line]


# Three blocks at a time.
THREE = [
    *[*SEARCH, "hydra.sweeper.n_trials=20", "hydra.sweeper.n_jobs=2", "search.workers=3"],
    *["loss=ce", "teacher=none", "optimizer.lr=interval(0.001,0.01)"],
]


def stop_by(patch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Stop the controller once it has submitted what there is."""

    def stopped(self: slurm.SlurmExecutor, seconds: float) -> list[Exit]:
        raise error

    patch.setattr(slurm.SlurmExecutor, "poll", stopped)


@pytest.mark.slow
def test_as_many_blocks_are_in_the_queue_as_there_are_workers(
    command: Command, queue: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_by(monkeypatch, KeyboardInterrupt())
    queue.put("99_7", name_prefix(Path("multirun/mine").absolute()) + "0", "PENDING")
    outcome = command(*THREE)
    assert outcome.code == 130, outcome.err
    assert queue.cancelled == ["1_0", "1_1", "1_2"]
    assert pending(queue) == ["99_7"]  # of another controller
    command(*THREE)  # the same units, in new jobs
    assert queue.cancelled[3:] == ["2_0", "2_1", "2_2"]
    assert len(list(outcome.folder.glob("multirun/mine/work/?.json"))) == 3


@pytest.mark.slow
def test_a_signal_to_the_controller_of_a_search_leaves_its_jobs(
    command: Command, queue: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_by(monkeypatch, SystemExit(143))
    outcome = command(*THREE)
    assert outcome.code == 143, outcome.err
    assert f"the jobs go on: `kdsweep attach {outcome.sweep}` continues their search" in outcome.out
    assert pending(queue) == ["1_0", "1_1", "1_2"]
    stop_by(monkeypatch, KeyboardInterrupt())
    command(*THREE)
    assert queue.cancelled == ["1_0", "1_1", "1_2"]  # it has attached to them
    assert len(queue.scripts) == 1


def test_another_launcher_is_refused_in_a_search(command: Command) -> None:
    outcome = command("hydra/launcher=basic", "search=bayes")
    assert outcome.code == 1
    assert "hydra/launcher must be lockstep, lockstep_slurm or lockstep_ray in a search, got" in (
        outcome.err
    )
