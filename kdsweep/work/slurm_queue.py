"""Slurm's queue, by its own programs: it knows the jobs of a sweep without Slurm's accounting."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import NamedTuple

from kdsweep.errors import UserError
from kdsweep.work.own_package import own_environment

PROGRAMS = ("sbatch", "squeue", "scancel")
FORMAT = "%i|%j|%K|%T|%N"  # id, name, index in its array, state, nodes
SECONDS = 30  # that a program may take: sbatch waits for minutes while the queue is full
AT_ONCE = 200  # jobs that one call cancels
# States from which no job comes back; one that is queued again is PENDING.
ENDED = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"),
    *("OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
}


class SlurmError(Exception):
    """A program of Slurm's has failed; the message is what it printed."""


class Job(NamedTuple):
    """A job, or an element of an array of jobs, which has the id `7_3`."""

    id: str
    state: str
    node: str

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED

    @property
    def rank(self) -> tuple[bool, tuple[int, ...]]:
        """Of the jobs of a unit, the last one that has not ended is the highest."""
        return not self.has_ended, tuple(map(int, self.id.split("_")))


def check_slurm() -> None:
    """Raise UserError where Slurm's programs are not installed."""
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        raise UserError(
            "hydra/launcher must be another one than lockstep_slurm on a host without Slurm, got"
            f" lockstep_slurm: there is no {' and no '.join(missing)} in PATH"
        )


def submit(script: str) -> None:
    """Submit a batch script. Raises SlurmError if the queue does not take it."""
    call("sbatch", "--parsable", script=script)  # which gives the environment to the job


def jobs_named(prefix: str) -> dict[int, Job]:
    """The latest job of each unit, those that ended minutes ago as well.

    ``prefix``: of the names of jobs. The rest is the number of a unit, or the one that the index in
    an array counts from. Raises SlurmError if Slurm does not respond.
    """
    mine = ["--array", f"--user={os.getuid()}", "--states=all"]
    output = call("squeue", "--noheader", *mine, f"--format={FORMAT}")
    found: dict[int, Job] = {}
    for line in output.splitlines():
        id, name, index, state, node = line.strip().split("|")
        base = name.removeprefix(prefix)
        if base == name or not base.isdecimal():
            continue
        number = int(base) + (int(index) if index.isdecimal() else 0)
        job = Job(id, state, node)
        if number not in found or job.rank > found[number].rank:
            found[number] = job
    return found


def cancel(ids: Sequence[str]) -> None:
    """End jobs: one that runs is terminated first, then killed. Raises SlurmError."""
    for start in range(0, len(ids), AT_ONCE):
        call("scancel", *ids[start : start + AT_ONCE])


def call(*words: str, script: str = "") -> str:
    """The output of a program of Slurm's. Raises SlurmError."""
    try:
        done = subprocess.run(
            words,
            input=script,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            env=own_environment(),
        )
    except subprocess.TimeoutExpired as error:
        raise SlurmError(f"{words[0]} timed out") from error
    except OSError as error:
        raise SlurmError(str(error)) from error
    if done.returncode != 0:
        lines = [line.rpartition("error: ")[2].strip() for line in done.stderr.splitlines()]
        raise SlurmError("; ".join(filter(None, lines)) or f"{words[0]} failed")
    return done.stdout
