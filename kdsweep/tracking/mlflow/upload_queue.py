"""Background uploads to MLflow: errors are logged, never raised in training."""

import heapq
import itertools
import logging
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from kdsweep.common.text import first_line
from kdsweep.tracking.disk import has_no_room, is_full

# An error that took longer than this means that the store is away, not that a row is bad ...
SLOW_SECONDS = 1.0
# ... and nothing is tried for so long: what it missed is uploaded later, at the end at the latest.
PAUSE_SECONDS = 30.0

# Between two uploads that can wait: in a sweep of hundreds of runs each is uploaded less often, so
# that uploads do not slow the training down.
APART_SECONDS = 0.2

logger = logging.getLogger(__name__)


class Job(NamedTuple):
    """A call that is to be made for a run."""

    run_id: str
    function: Callable[[], object]
    folder: Path | None


class UploadQueue:
    """One thread that calls the submitted functions as they are due; none of their errors leaves.

    A run with an upload that failed (or was put off) is in ``pending_runs`` until a caller removes
    it. Without a thread (``threaded=False``) `submit` calls the function itself, guarded as well.
    """

    def __init__(self, *, threaded: bool = True) -> None:
        self.pending_runs: set[str] = set()
        self._has_warned = False
        self._closed = self._abandoned = False
        self._paused_until = 0.0
        # When each is due at the latest. An event is set instead of called.
        self._due: dict[Job | threading.Event, float] = {}
        # The same with the numbers of their submission, as a heap: there may be thousands. Entries
        # that are not due as above are void.
        self._order: list[tuple[float, int, Job | threading.Event]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._wakes_at = math.inf  # when the thread looks again for what is due
        self._thread: threading.Thread | None = None
        if threaded:
            # A daemon: one that hangs in a request does not keep the process from ending.
            self._thread = threading.Thread(target=self._work, name="kdsweep-upload", daemon=True)
            self._thread.start()

    def submit(
        self,
        run_id: str,
        function: Callable[[], object],
        *,
        folder: Path | None = None,
        within: float = 0.0,
    ) -> None:
        """Have ``function`` called in ``within`` seconds; returns at once.

        One that can wait is called later than that if many are waiting. One that is submitted for a
        run again before its call has begun is called once, at the earlier time. While the store is
        away nothing is called, and the run becomes one of `pending_runs`.

        ``run_id`` is any name of the run; ``folder`` is the one that a warning advises to sync.
        """
        job = Job(run_id, function, folder)
        if self._thread is None:
            self._call(job)
        elif self._closed:
            self.pending_runs.add(run_id)
        else:
            self._put(job, within)

    def when_done(self) -> threading.Event:
        """An event that is set once everything submitted so far is done, which is due now."""
        reached = threading.Event()
        if self._thread is None or not self._thread.is_alive():
            reached.set()
            return reached
        with self._changed:
            now = time.monotonic()
            waiting = {job: min(due, now) for job, due in self._due.items()} | {reached: now}
            self._due, self._order = {}, []
            for job, due in waiting.items():
                self._add(job, due)
            self._changed.notify()
        return reached

    def end_pause(self) -> None:
        """Try a store again that was away."""
        self._paused_until = 0.0

    def close(self, timeout: float = 1.0) -> bool:
        """End the thread, after at most ``timeout`` seconds; False if something was not done.

        What has not been done by then is not begun any more.
        """
        if self._thread is None or self._closed:
            return True
        self._closed = True
        in_time = self.when_done().wait(timeout)
        self._abandoned = True
        return in_time

    def _put(self, job: Job, within: float) -> None:
        with self._changed:
            if within > 0:
                within = max(within, APART_SECONDS * len(self._due))
            due = time.monotonic() + within
            if due < self._due.get(job, math.inf):
                self._add(job, due)
            if due < self._wakes_at:
                self._changed.notify()

    def _add(self, job: Job | threading.Event, due: float) -> None:
        self._due[job] = due
        heapq.heappush(self._order, (due, next(self._numbers), job))

    def _work(self) -> None:
        while (job := self._next()) is not None:
            if isinstance(job, threading.Event):
                job.set()
            else:
                self._call(job)

    def _next(self) -> Job | threading.Event | None:
        """Wait for what is due first; None once the queue is closed and empty."""
        with self._changed:
            while self._due or not self._closed:
                wait: float | None = None
                self._wakes_at = math.inf
                if self._due:
                    self._wakes_at, job = self._first()
                    wait = self._wakes_at - time.monotonic()
                    if wait <= 0:
                        del self._due[job]
                        return job
                self._changed.wait(wait)
        return None

    def _first(self) -> tuple[float, Job | threading.Event]:
        """What is due first, and when."""
        while self._due.get(self._order[0][2]) != self._order[0][0]:
            heapq.heappop(self._order)
        due, _, job = self._order[0]
        return due, job

    def _call(self, job: Job) -> None:
        start = time.monotonic()
        if self._abandoned or start < self._paused_until:
            self.pending_runs.add(job.run_id)
            return
        try:
            job.function()
        except Exception as error:
            end = time.monotonic()
            if end - start > SLOW_SECONDS:
                self._paused_until = end + PAUSE_SECONDS
            self.pending_runs.add(job.run_id)
            self._warn_once(job.run_id, job.folder, error)

    def _warn_once(self, run_id: str, folder: Path | None, error: Exception) -> None:
        # A full disk under the run folders ends training with a message of its own; one under the
        # store alone does not.
        is_run_disk = folder is not None and is_full(error) and has_no_room(folder)
        if self._has_warned or self._abandoned or is_run_disk:
            level = logging.DEBUG
        else:
            level, self._has_warned = logging.WARNING, True
        logger.log(
            level,
            "MLflow did not take everything of %s (%s). Training continues and its folder is "
            "complete; what is still missing at the end, `kdsweep sync %s` uploads later.",
            run_id,
            first_line(error),
            folder or "FOLDER",
        )
