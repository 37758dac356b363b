"""The jobs of a sweep in Slurm's queue, which `squeue` lists without Slurm's accounting."""

import logging
import shutil
import subprocess
from collections.abc import Sequence
from typing import NamedTuple

from kdsweep.errors import UserError

log = logging.getLogger(__name__)

FORMAT = "%i|%j|%K|%T|%N"  # id, name, index in its array, state, node
SECONDS = 30  # that a program of Slurm's may take; a busy controller does not respond for a while
# States from which no job comes back. Requeued jobs are PENDING again.
ENDED = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"),
    *("OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
}


class Job(NamedTuple):
    """A job of an array."""

    id: str
    name: str
    index: int
    state: str
    node: str

    @property
    def order(self) -> tuple[int, ...]:
        """Of two jobs with the same index, the later one has the higher number."""
        return tuple(map(int, self.id.split("_")))

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED


def check_slurm() -> None:
    """Raise UserError where Slurm's programs are not installed."""
    missing = [name for name in ("sbatch", "squeue", "scancel") if not shutil.which(name)]
    if missing:
        raise UserError(
            "hydra/launcher must be another one than lockstep_slurm where Slurm is not installed,"
            f" got lockstep_slurm without {' and '.join(missing)} in PATH"
        )


def submit(script: str) -> None:
    """Submit a batch script. Raises SlurmError if the queue does not take it now, or ever."""
    call("sbatch", "--parsable", script=script)


def list_jobs(names: Sequence[str]) -> list[Job] | None:
    """The jobs of these names, those that ended minutes ago as well; None if Slurm is silent."""
    arrays = ["--array", f"--name={','.join(names)}", "--states=all"]
    try:
        output = call("squeue", "--noheader", *arrays, f"--format={FORMAT}")
    except SlurmError as error:
        log.debug("no state of the jobs: %s", error)
        return None
    return [job for line in output.splitlines() if (job := _parse(line)) is not None]


def cancel(name: str) -> None:
    """End all jobs of a name: those that run are terminated first, then killed."""
    call("scancel", f"--name={name}")


class SlurmError(Exception):
    """A program of Slurm's has failed; the message is what it printed."""


def call(*words: str, script: str = "") -> str:
    """The output of a program of Slurm's. Raises SlurmError."""
    try:
        done = subprocess.run(
            words, input=script, capture_output=True, text=True, timeout=SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise SlurmError(f"{words[0]} timed out") from error
    except OSError as error:
        raise SlurmError(str(error)) from error
    if done.returncode != 0:
        raise SlurmError(" ".join(done.stderr.split()) or f"{words[0]} ended with {done.returncode}")
    return done.stdout


def _parse(line: str) -> Job | None:
    id, name, index, state, node = line.split("|")
    return Job(id, name, int(index), state, node) if index.isdecimal() else None
