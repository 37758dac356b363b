"""Places work units as jobs of Slurm, whose queue knows all that there is to know about them.

A job runs `kdsweep work FOLDER N`. Its name is derived from the sweep's folder, and its index in the
array from its unit: so any controller finds the jobs of a sweep, and none is submitted twice.
"""

import logging
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from kdsweep.common.text import counted
from kdsweep.errors import UserError
from kdsweep.work.batch_script import BLOCK, array_name, batch_script, log_path
from kdsweep.work.executor import Exit
from kdsweep.work.slurm_options import SlurmOptions
from kdsweep.work.slurm_queue import Job, SlurmError, cancel, check_slurm, list_jobs, submit
from kdsweep.work.unit_file import UnitFile

log = logging.getLogger(__name__)

QUEUE_SECONDS = 5.0  # between two looks at the queue
RETRY_SECONDS = 30.0  # after which a submission that the queue had no room for is repeated
END_SECONDS = 120.0  # that jobs may take to end once they are cancelled
LINES = 5  # of a job's output in the message about its end
PASSING = ("temporarily", "contact", "timed out", "unavailable", "zero bytes", "queue full")


class SlurmExecutor:
    """Submits units, and reports those whose jobs have left the queue.

    Raises UserError if Slurm is not installed.
    """

    def __init__(self, folder: Path, options: SlurmOptions) -> None:
        check_slurm()
        self.workers = options.array_parallelism
        self._folder, self._options = folder.absolute(), options
        self._in_queue: dict[int, Job | None] = {}  # None: not seen there yet
        self._waiting: list[int] = []  # units that the queue has had no room for
        self._next_look = self._next_try = 0.0  # on the monotonic clock

    def free(self) -> int:
        """A queue takes any number of units."""
        return sys.maxsize

    def submit(self, numbers: Sequence[int]) -> None:
        """Submit units, in one array where they can be. Raises UserError if Slurm refuses them."""
        self._waiting += numbers
        self._submit_waiting()

    def submit_chain(self, units: Iterable[UnitFile]) -> None:
        """Submit units of which each starts once those that it needs are done.

        Raises UserError if Slurm refuses them.
        """
        for numbers, needs in _alike(units):
            self._waiting = list(numbers)
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
            if self._in_queue and time.monotonic() >= self._next_look:
                self._next_look = time.monotonic() + QUEUE_SECONDS
                if ended := self._ended():
                    return ended
            pause = min(deadline, self._next_look) - time.monotonic()
            if deadline <= time.monotonic():
                return []
            time.sleep(max(pause, 0.05))

    def close(self, *, leave: bool) -> None:
        """Park and end all jobs, unless they are to go on without this process."""
        names = sorted({array_name(self._folder, number) for number in self._in_queue})
        if leave or not names:
            return
        try:
            for name in names:
                cancel(name)
        except SlurmError as error:
            commands = "; ".join(f"scancel --name={name}" for name in names)
            log.warning("the jobs of the sweep are not cancelled (%s): %s", error, commands)
            return
        until = time.monotonic() + END_SECONDS
        while time.monotonic() < until and self._look(self._in_queue) != {}:
            time.sleep(0.5)

    def _submit_waiting(self, needs: Sequence[int] = ()) -> None:
        """Submit the units that have no job in the queue; what there is no room for waits on."""
        there = self._look([*self._waiting, *needs])
        if there is None:
            self._try_later("squeue does not respond")
            return
        after = [there[number].id for number in needs if number in there]
        while self._waiting:
            block = self._waiting[0] // BLOCK
            numbers = [n for n in self._waiting if n // BLOCK == block]
            missing = [n for n in numbers if n not in there]
            if missing and not self._submit_array(missing, after):
                return
            self._in_queue |= {number: there.get(number) for number in numbers}
            self._waiting = [n for n in self._waiting if n // BLOCK != block]

    def _submit_array(self, numbers: Sequence[int], after: Sequence[str]) -> bool:
        """False if it is to be tried again later."""
        try:
            submit(batch_script(self._folder, numbers, self._options, after))
        except SlurmError as error:
            if not (self._in_queue or any(sign in str(error).lower() for sign in PASSING)):
                raise UserError(f"Slurm does not accept the jobs of the sweep: {error}") from error
            self._try_later(str(error))
            return False
        return True

    def _try_later(self, reason: str) -> None:
        self._next_try = time.monotonic() + RETRY_SECONDS
        what = counted(len(self._waiting), "unit")
        log.warning("%s wait for room in Slurm's queue, tried every %d s: %s", what, RETRY_SECONDS, reason)

    def _look(self, numbers: Iterable[int]) -> dict[int, Job] | None:
        """The jobs of these units that have not ended; None if Slurm does not respond."""
        jobs = self._jobs(numbers)
        return None if jobs is None else {n: job for n, job in jobs.items() if not job.has_ended}

    def _jobs(self, numbers: Iterable[int]) -> dict[int, Job] | None:
        """The latest job of each of these units that Slurm still knows."""
        blocks = {array_name(self._folder, number): number // BLOCK for number in numbers}
        listed = list_jobs(list(blocks)) if blocks else []
        if listed is None:
            return None
        found: dict[int, Job] = {}
        for job in sorted(listed, key=lambda job: (not job.has_ended, job.order)):
            found[blocks[job.name] * BLOCK + job.index] = job
        return found

    def _ended(self) -> list[Exit]:
        jobs = self._jobs(self._in_queue)
        if jobs is None:
            return []
        ended = []
        for number, seen in list(self._in_queue.items()):
            job = jobs.get(number)
            if job is not None and not job.has_ended:
                self._in_queue[number] = job
            else:
                del self._in_queue[number]
                ended.append(Exit(number, self._reason(number, job or seen)))
        return ended

    def _reason(self, number: int, job: Job | None) -> str | None:
        """How a job has ended, with the end of its output; None if in order."""
        if job is not None and job.state == "COMPLETED":
            return None
        name = "its job" if job is None else f"job {job.id}"
        state = job.state if job is not None and job.has_ended else "ended"
        path = log_path(self._folder, number)
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        except OSError:
            node = f" on {job.node}" if job is not None and job.node else ""
            return (
                f"{name} {state}{node} and left no {path}: every host of a sweep must see its"
                " folder, which has to be on a file system that they share"
            )
        return f"{name} {state}: " + " / ".join(line.strip() for line in lines[-LINES:])


def _alike(units: Iterable[UnitFile]) -> list[tuple[list[int], tuple[int, ...]]]:
    """Units with the same needs, which one array can hold, after those that they need."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for unit in sorted(units, key=lambda unit: unit.number):
        groups.setdefault(unit.needs, []).append(unit.number)
    return sorted(((numbers, needs) for needs, numbers in groups.items()), key=lambda g: g[0][0])
