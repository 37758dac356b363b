"""Places work units as jobs of Slurm, whose queue knows all that there is to know about them.

A job runs `kdsweep work FOLDER N`. Its name is derived from the sweep's folder, and its index in
the array from its unit: any controller finds the jobs of a sweep, and submits none of them again.
"""

import logging
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from kdsweep.common.text import counted
from kdsweep.errors import UserError
from kdsweep.runs.spec import RunSpec
from kdsweep.work.batch_script import batch_scripts, log_path, name_prefix
from kdsweep.work.demand import cores_for, gpus_for
from kdsweep.work.executor import ExecutorFactory, Exit
from kdsweep.work.slurm_options import SlurmOptions, slurm_options
from kdsweep.work.slurm_queue import (
    Job,
    QueueFull,
    SlurmError,
    cancel,
    check_slurm,
    jobs_named,
    submit,
)
from kdsweep.work.unit_file import UnitFile

log = logging.getLogger(__name__)

QUEUE_SECONDS = 5.0  # between two looks at the queue
RETRY_SECONDS = 30.0  # after which a submission that the queue had no room for is repeated
END_SECONDS = 120.0  # that jobs may take to end once they are cancelled
LINES = 5  # of a job's output in the message about its end
# Of messages about a queue that is full or a controller that is busy, not about a job.
PASSING = (
    *("temporarily", "contact", "timed out", "unavailable", "zero bytes", "queue full"),
    "not responding",
)


def find_slurm(
    node: Mapping[str, Any], specs: Sequence[RunSpec], *, is_search: bool = False
) -> ExecutorFactory:
    """Jobs of Slurm for these runs, with the options of a `hydra.launcher` node.

    ``is_search``: the runs are examples of those to come. Raises UserError if an option is not
    allowed, or Slurm is not installed.
    """
    options = slurm_options(node)
    if not specs[0].config.dry_run:  # the plan of a sweep can be made anywhere
        check_slurm()
    cpus, gpus = cores_for(specs, options.cpus), int(gpus_for(specs, node["gpus"]))
    options = replace(options, cpus=cpus, gpus=gpus)
    return partial(SlurmExecutor, options=options, is_shared=is_search)


class SlurmExecutor:
    """Submits units, and reports those whose jobs have left the queue.

    Args:
        is_shared: whether other controllers may submit units of this sweep as well.
    """

    def __init__(self, folder: Path, options: SlurmOptions, *, is_shared: bool = False) -> None:
        self.workers = 1  # no worker is idle: `cohort_size` is what makes more jobs
        self._folder, self._options = folder.absolute(), options
        self._is_shared = is_shared
        self._placed: dict[int, Job | None] = {}  # units with a job; None: not seen yet
        self._waiting: list[int] = []  # units that the queue has had no room for
        self._next_look = self._next_try = 0.0  # on the monotonic clock
        self._is_closed = False

    def free(self) -> int:
        """A queue takes any number of units."""
        return sys.maxsize

    def submit(self, numbers: Sequence[int]) -> None:
        """Submit units. Raises UserError if Slurm does not accept such jobs."""
        self._waiting += numbers
        self._submit_waiting()

    def submit_chain(self, units: Sequence[UnitFile]) -> None:
        """Submit units of which each starts once those that it needs are done.

        Waits for room in the queue. Raises UserError if Slurm does not accept such jobs.
        """
        # A unit needs earlier ones only, so those of its last need are submitted before.
        for needs in sorted(
            {unit.needs for unit in units}, key=lambda needs: max(needs, default=-1)
        ):
            self._waiting = [unit.number for unit in units if unit.needs == needs]
            self._submit_waiting(needs)
            while self._waiting:
                time.sleep(max(self._next_try - time.monotonic(), 0))
                self._submit_waiting(needs)

    def poll(self, seconds: float) -> Sequence[Exit]:
        """Wait at most so many seconds for units whose jobs have ended."""
        deadline = time.monotonic() + seconds
        while True:
            if self._waiting and time.monotonic() >= self._next_try:
                self._submit_waiting()
            if self._placed and time.monotonic() >= self._next_look:
                self._next_look = time.monotonic() + QUEUE_SECONDS
                if ended := self._ended():
                    return ended
            if time.monotonic() >= deadline:
                return []
            time.sleep(max(min(deadline, self._next_look) - time.monotonic(), 0.05))

    def close(self, *, leave: bool = False) -> None:
        """Park and end all jobs of the sweep, unless they are to go on without this process."""
        if self._is_closed:  # jobs that were left are left for good
            return
        self._is_closed = True
        if leave and not self._has_jobs():
            return
        if leave:
            what = "search" if self._is_shared else "sweep"
            log.warning(
                "the jobs go on: `kdsweep attach %s` continues their %s", self._folder, what
            )
            return
        try:
            cancel([job.id for job in self._own().values()])
            until = time.monotonic() + END_SECONDS
            while self._own() and time.monotonic() < until:
                time.sleep(0.5)
        except SlurmError as error:
            name = name_prefix(self._folder)
            log.warning("the jobs named %s... may not be cancelled: %s", name, error)

    def _submit_waiting(self, needs: Sequence[int] = ()) -> None:
        """Submit the waiting units that have no job; those for which there is no room wait on."""
        try:
            there = self._live()
            after = [there[number].id for number in needs if number in there]
            self._placed |= {number: there[number] for number in self._waiting if number in there}
            missing = [number for number in self._waiting if number not in there]
            self._submit_jobs(missing, after)
        except SlurmError as error:
            if not (self._placed or any(sign in str(error).lower() for sign in PASSING)):
                raise UserError(f"Slurm does not accept the jobs of the sweep: {error}") from error
            self._next_try = time.monotonic() + RETRY_SECONDS
            waiting = counted(len(set(self._waiting) - self._placed.keys()), "unit")
            log.warning("%s cannot be submitted yet: %s", waiting, error)
        self._waiting = [number for number in self._waiting if number not in self._placed]

    def _submit_jobs(self, numbers: Sequence[int], after: Sequence[str]) -> None:
        """Submit units, of an array for which there is no room as many as there is room for.

        Raises SlurmError if some could not be submitted.
        """
        for alike, script in batch_scripts(self._folder, numbers, self._options, after):
            try:
                submit(script)
                self._placed |= dict.fromkeys(alike)
            except QueueFull:
                if (half := len(alike) // 2) == 0:
                    raise
                self._submit_jobs(alike[:half], after)
                self._submit_jobs(alike[half:], after)

    def _live(self) -> dict[int, Job]:
        """The jobs of the sweep that have not ended, by unit. Raises SlurmError."""
        jobs = jobs_named(name_prefix(self._folder))
        return {number: job for number, job in jobs.items() if not job.has_ended}

    def _has_jobs(self) -> bool:
        """Whether some job of the sweep has not ended, as far as is known."""
        try:
            return bool(self._placed or self._live())
        except SlurmError:
            return False

    def _own(self) -> dict[int, Job]:
        """Those of them that end with this process."""
        live = self._live()
        own = self._placed.keys() if self._is_shared else live.keys()
        return {number: job for number, job in live.items() if number in own}

    def _ended(self) -> list[Exit]:
        """The units whose jobs have ended since the last call; none if Slurm does not respond."""
        try:
            jobs = jobs_named(name_prefix(self._folder))
        except SlurmError as error:
            log.debug("no state of the jobs: %s", error)
            return []
        ended = []
        for number, seen in list(self._placed.items()):
            job = jobs.get(number)
            if job is not None and not job.has_ended:
                self._placed[number] = job
            else:
                del self._placed[number]
                ended.append(Exit(number, self._reason(number, job or seen)))
        return ended

    def _reason(self, number: int, job: Job | None) -> str | None:
        """How a job has ended, with the end of its output; None if in order."""
        if job is None:
            what = "its job ended"
        elif job.state == "COMPLETED":
            return None
        else:
            what = f"job {job.id} " + (job.state if job.has_ended else "ended")
        path = log_path(self._folder, number)
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        except OSError:
            if job is None or job.state != "FAILED":
                return what
            return (
                f"{what} on {job.node} without any output: a host must see the folder of its sweep,"
                f" {self._folder}, on a file system that all share"
            )
        return ": ".join([what, " / ".join(line.strip() for line in lines[-LINES:])])
