"""The queue of Slurm as an executor: who is submitted when, and what is reported, by fake programs.

`test_slurm_cluster.py` has the real ones.
"""

import logging
import re
from pathlib import Path
from typing import Any

import pytest
from fake_slurm import FakeSlurm, fake_slurm

from kdsweep.errors import UserError
from kdsweep.work import slurm
from kdsweep.work.batch_script import log_path, name_prefix
from kdsweep.work.executor import Exit
from kdsweep.work.slurm import SlurmExecutor
from kdsweep.work.slurm_options import SlurmOptions
from kdsweep.work.slurm_queue import check_slurm
from kdsweep.work.unit_file import UnitFile


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    for name in ("QUEUE_SECONDS", "RETRY_SECONDS", "END_SECONDS"):
        monkeypatch.setattr(slurm, name, 0.0)
    (tmp_path / "slurm").mkdir()
    return fake_slurm(tmp_path / "slurm", monkeypatch)


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    folder = tmp_path / "sweep"
    (folder / "work").mkdir(parents=True)
    return folder


def unit(number: int, *needs: int) -> UnitFile:
    return UnitFile(
        number=number,
        role="run",
        name="",
        needs=needs,
        place=(1, 1),
        cwd="",
        parent_run_id=None,
        roots=(),
        runs=(),
    )


def parameter(script: str, name: str) -> str | None:
    """A parameter of sbatch in a script."""
    found = re.search(rf"^#SBATCH --{name}=(.*)$", script, re.MULTILINE)
    return None if found is None else found[1]


def executor(sweep: Path, **options: Any) -> SlurmExecutor:
    return SlurmExecutor(sweep, SlurmOptions(**options))


def test_units_become_an_array_whose_indices_they_are(queue: FakeSlurm, sweep: Path) -> None:
    executor(sweep, array_parallelism=2).submit([0, 3])
    (script,) = queue.scripts
    assert "#SBATCH --array=0,3%2" in script
    assert queue.queue == [
        f"1_0|{name_prefix(sweep)}0|0|PENDING|",
        f"1_3|{name_prefix(sweep)}0|3|PENDING|",
    ]


def test_jobs_that_have_left_the_queue_are_reported_once(queue: FakeSlurm, sweep: Path) -> None:
    jobs = executor(sweep)
    jobs.submit([0, 1, 1003])
    assert jobs.poll(0) == []
    queue.set_state("1_0", "COMPLETED")
    assert jobs.poll(0) == [Exit(0)]
    log_path(sweep, 1).write_text("setting up\nkdsweep: the data is gone\n")
    queue.set_state("1_1", "FAILED")
    queue.set_state("2_3", None)
    assert jobs.poll(0) == [
        Exit(1, "job 1_1 FAILED: setting up / kdsweep: the data is gone"),
        Exit(1003, "job 2_3 ended"),
    ]
    assert jobs.poll(0) == []


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED"])
def test_jobs_that_may_come_back_have_not_ended(queue: FakeSlurm, sweep: Path, state: str) -> None:
    jobs = executor(sweep)
    jobs.submit([0])
    queue.set_state("1_0", state)
    assert jobs.poll(0) == []


@pytest.mark.parametrize("state", ["CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"])
def test_jobs_that_have_been_ended_are_reported_with_their_state(
    queue: FakeSlurm, sweep: Path, state: str
) -> None:
    jobs = executor(sweep)
    jobs.submit([0])
    queue.set_state("1_0", state)
    assert jobs.poll(0) == [Exit(0, f"job 1_0 {state}")]


def test_a_host_that_does_not_see_the_folder_is_named(queue: FakeSlurm, sweep: Path) -> None:
    jobs = executor(sweep)
    jobs.submit([0])
    queue.set_state("1_0", "FAILED", node="far")
    ((_, reason),) = jobs.poll(0)
    assert reason == (
        "job 1_0 FAILED on far without any output: a host must see the folder of its sweep,"
        f" {sweep}, on a file system that all share"
    )


def test_a_unit_with_a_job_of_an_earlier_controller_gets_no_other(
    queue: FakeSlurm, sweep: Path
) -> None:
    executor(sweep).submit([0, 1])
    queue.set_state("1_1", "FAILED")
    jobs = executor(sweep)
    jobs.submit([0, 1, 2])
    assert "#SBATCH --array=1,2%256" in queue.scripts[1]
    queue.set_state("1_0", "COMPLETED")
    assert jobs.poll(0) == [Exit(0)]


def test_jobs_of_other_sweeps_are_none_of_this_one(queue: FakeSlurm, sweep: Path) -> None:
    queue.put("7_0", f"{name_prefix(sweep / 'other')}0", "RUNNING")
    queue.put("8", "kdsweep", "RUNNING")
    queue.put("9", f"{name_prefix(sweep)}0-copy", "RUNNING")
    executor(sweep).submit([0])
    assert len(queue.scripts) == 1


def test_of_two_jobs_of_a_unit_the_one_that_has_not_ended_counts(
    queue: FakeSlurm, sweep: Path
) -> None:
    jobs = executor(sweep)
    jobs.submit([0])
    queue.put("9_0", f"{name_prefix(sweep)}0", "CANCELLED")
    assert jobs.poll(0) == []
    queue.set_state("1_0", "COMPLETED")
    assert jobs.poll(0) == [Exit(0, "job 9_0 CANCELLED")]  # the last one


def test_while_slurm_is_silent_no_job_is_taken_for_ended(queue: FakeSlurm, sweep: Path) -> None:
    jobs = executor(sweep)
    jobs.submit([0])
    queue.fall_silent()
    queue.set_state("1_0", None)
    assert jobs.poll(0) == []
    queue.respond()
    assert jobs.poll(0) == [Exit(0, "its job ended")]


def test_what_a_full_queue_does_not_take_is_submitted_later(
    queue: FakeSlurm, sweep: Path, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = executor(sweep)
    queue.refuse("sbatch: error: Batch job submission failed: Resource temporarily unavailable\n")
    with caplog.at_level(logging.WARNING):
        jobs.submit([0, 1])
    assert caplog.messages == [
        "2 units cannot be submitted yet: Batch job submission failed: Resource temporarily"
        " unavailable"
    ]
    assert jobs.poll(0) == []
    queue.refuse(None)
    assert jobs.poll(0) == []
    assert len(queue.scripts) == 1
    queue.set_state("1_0", "COMPLETED")
    assert jobs.poll(0) == [Exit(0)]


def test_sbatch_is_not_left_to_wait_for_room(
    queue: FakeSlurm, sweep: Path, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = executor(sweep)
    queue.have_room(0)
    with caplog.at_level(logging.WARNING):
        jobs.submit([0])
    assert caplog.messages == [
        "1 unit cannot be submitted yet: Slurm temporarily unable to accept job"
    ]
    queue.have_room(1)
    assert jobs.poll(0) == []
    assert len(queue.scripts) == 1


def test_of_an_array_for_which_there_is_no_room_a_part_is_submitted(
    queue: FakeSlurm, sweep: Path, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = executor(sweep)
    queue.have_room(4)
    with caplog.at_level(logging.WARNING):
        jobs.submit([*range(8, 15)])
    assert [parameter(script, "array") for script in queue.scripts] == ["8,9,10%256", "11%256"]
    (message,) = caplog.messages
    assert message.startswith("3 units cannot be submitted yet: ")
    queue.have_room(7)
    assert jobs.poll(0) == []
    assert parameter(queue.scripts[-1], "array") == "12,13,14%256"


def test_a_limit_of_jobs_per_user_is_waited_for_while_jobs_are_in_the_queue(
    queue: FakeSlurm, sweep: Path
) -> None:
    jobs = executor(sweep)
    jobs.submit([0])
    queue.refuse(
        "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit"
        " limit, user's size and/or time limits)\n"
    )
    jobs.submit([1])
    queue.refuse(None)
    jobs.poll(0)
    assert len(queue.scripts) == 2


def test_jobs_that_slurm_does_not_accept_are_an_error(queue: FakeSlurm, sweep: Path) -> None:
    queue.refuse("sbatch: error: Batch job submission failed: Invalid partition name specified\n")
    with pytest.raises(UserError) as refused:
        executor(sweep, partition="none").submit([0])
    assert str(refused.value) == (
        "Slurm does not accept the jobs of the sweep: Batch job submission failed: Invalid"
        " partition name specified"
    )


def test_units_that_need_others_are_submitted_with_them(queue: FakeSlurm, sweep: Path) -> None:
    units = [unit(0), unit(1), unit(2, 0), unit(3, 0), unit(4, 1, 3), unit(1003, 2)]
    executor(sweep).submit_chain(units)
    assert [(parameter(s, "array"), parameter(s, "dependency")) for s in queue.scripts] == [
        ("0,1%256", None),
        ("2,3%256", "afterok:1_0"),
        ("3%256", "afterok:2_2"),  # unit 1003
        ("4%256", "afterok:1_1:2_3"),
    ]


def test_closing_cancels_what_has_not_ended_unless_it_is_left(
    queue: FakeSlurm, sweep: Path
) -> None:
    jobs = executor(sweep)
    jobs.submit([0, 1])
    queue.set_state("1_1", "COMPLETED")
    jobs.close(leave=True)
    jobs.close()  # by what cleans up after it: they are left for good
    assert queue.cancelled == []
    executor(sweep).close(leave=False)  # of another controller, which attaches
    assert queue.cancelled == ["1_0"]


def test_only_jobs_that_there_are_go_on(
    queue: FakeSlurm, sweep: Path, caplog: pytest.LogCaptureFixture
) -> None:
    executor(sweep).close(leave=True)
    queue.fall_silent()
    executor(sweep).close(leave=True)
    assert not caplog.records
    queue.respond()
    executor(sweep).submit([0])
    executor(sweep).close(leave=True)  # of another controller, which has submitted none
    assert caplog.messages == [f"the jobs go on: `kdsweep attach {sweep}` continues their sweep"]


def test_a_host_without_slurm_is_refused(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(sweep))
    with pytest.raises(UserError, match=r"without Slurm, .*there is no sbatch and no squeue"):
        check_slurm()
