"""Slurm's queue, by its own programs: it knows the jobs of a sweep without Slurm's accounting."""

import os
import shutil
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from kdsweep.errors import UserError
from kdsweep.work.own_package import own_environment

PROGRAMS = ("sbatch", "squeue", "scancel")
FORMAT = "%i|%j|%K|%T|%N"  # id, name, index in its array, state, nodes
SECONDS = 30  # that a program may take
WAITS = ", sleeping and retrying"  # the end of what sbatch prints before it waits for room
# Of what sbatch prints if there is no room, now or within the limits of a user.
FULL = ("temporarily unavailable", "job submit limit")
AT_ONCE = 200  # jobs that one call cancels
# States from which no job comes back; one that is queued again is PENDING.
ENDED = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"),
    *("OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
}


class SlurmError(Exception):
    """A program of Slurm's has failed; the message is what it printed."""


class QueueFull(SlurmError):
    """The queue has no room for so many jobs now."""


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
    """Submit a batch script; its job has the environment of this process.

    sbatch itself waits for room in a full queue, for two minutes, in which its caller could do
    nothing else: it is ended once it does.

    Raises QueueFull if there is no room, and SlurmError if the queue does not take it otherwise.
    """
    try:
        sbatch = subprocess.Popen(
            ["sbatch", "--parsable"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=own_environment(),
        )
    except OSError as error:
        raise SlurmError(str(error)) from error
    limit = threading.Timer(SECONDS, sbatch.kill)
    limit.start()
    try:
        with sbatch:
            printed = _print_until_it_waits(sbatch, script)
    finally:
        limit.cancel()
    if sbatch.returncode == 0:
        return
    waits, message = WAITS in printed, _message(printed)
    if waits or any(sign in message for sign in FULL):
        raise QueueFull(message)
    raise SlurmError((message if sbatch.returncode > 0 else "") or "sbatch timed out")


def _print_until_it_waits(sbatch: "subprocess.Popen[str]", script: str) -> str:
    """What sbatch prints about a script, to its end, or to that of its first try."""
    assert sbatch.stdin is not None
    assert sbatch.stderr is not None
    with suppress(BrokenPipeError), sbatch.stdin as input:
        input.write(script)
    printed = ""
    for line in sbatch.stderr:
        printed += line
        if WAITS in line:
            sbatch.kill()
    return printed


def jobs_named(prefix: str) -> dict[int, Job]:
    """The latest job of each unit, those that ended minutes ago as well.

    ``prefix``: of the names of jobs. The rest is the number of a unit, or the one that the index in
    an array counts from. Raises SlurmError if Slurm does not respond.
    """
    selection = ["--array", f"--user={os.getuid()}", "--states=all"]
    output = call("squeue", "--noheader", *selection, f"--format={FORMAT}")
    jobs: dict[int, Job] = {}
    for line in output.splitlines():
        id, name, index, state, node = line.strip().split("|")
        base = name.removeprefix(prefix)
        if base == name or not base.isdecimal():
            continue
        number = int(base) + (int(index) if index.isdecimal() else 0)
        job = Job(id, state, node)
        if number not in jobs or job.rank > jobs[number].rank:
            jobs[number] = job
    return jobs


def cancel(ids: Sequence[str]) -> None:
    """End jobs: one that runs is terminated first, then killed. Raises SlurmError."""
    for start in range(0, len(ids), AT_ONCE):
        call("scancel", *ids[start : start + AT_ONCE])


def call(*words: str) -> str:
    """The output of a program of Slurm's. Raises SlurmError."""
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
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
        raise SlurmError(_message(done.stderr) or f"{words[0]} failed")
    return done.stdout


def _message(printed: str) -> str:
    """What a program has printed about its failure, as one line."""
    texts = (line.rpartition("error: ")[2].strip() for line in printed.splitlines())
    return "; ".join(text.removesuffix(WAITS) for text in texts if text)
