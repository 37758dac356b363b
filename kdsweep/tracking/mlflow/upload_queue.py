"""Background uploads to MLflow: errors are logged, never raised in training."""

import logging
import queue
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from kdsweep.common.text import first_line
from kdsweep.tracking.disk import has_no_room, is_full

# An error that took longer than this means that the store is away, not that a row is bad ...
SLOW_SECONDS = 1.0
# ... and nothing is tried for so long: what it missed is uploaded later, at the end at the latest.
PAUSE_SECONDS = 30.0

logger = logging.getLogger(__name__)


class UploadQueue:
    """One thread that calls the submitted functions in order; none of their errors leaves it.

    A run with an upload that failed (or was put off) is in ``pending_runs`` until a caller removes
    it. Without a thread (``threaded=False``) `submit` calls the function itself, guarded as well.
    """

    def __init__(self, *, threaded: bool = True) -> None:
        self.pending_runs: set[str] = set()
        self._has_warned = False
        self._closed = self._abandoned = False
        self._paused_until = 0.0
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        if threaded:
            # A daemon: one that hangs in a request does not keep the process from ending.
            self._thread = threading.Thread(target=self._work, name="kdsweep-upload", daemon=True)
            self._thread.start()

    def submit(
        self, run_id: str, function: Callable[[], object], *, folder: Path | None = None
    ) -> None:
        """Have ``function`` called; returns at once.

        While the store is away nothing is called, and the run becomes one of `pending_runs`.

        ``run_id`` is any name of the run; ``folder`` is the one that a warning advises to sync.
        """
        job = partial(self._call, run_id, function, folder)
        if self._thread is None:
            job()
        elif self._closed:
            self.pending_runs.add(run_id)
        else:
            self._jobs.put(job)

    def when_done(self) -> threading.Event:
        """An event that is set once everything submitted so far is done."""
        reached = threading.Event()
        if self._thread is None or not self._thread.is_alive():
            reached.set()
        else:
            self._jobs.put(reached.set)
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
        done = self.when_done()
        self._jobs.put(None)
        in_time = done.wait(timeout)
        self._abandoned = True
        return in_time

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _call(self, run_id: str, function: Callable[[], object], folder: Path | None) -> None:
        start = time.monotonic()
        if self._abandoned or start < self._paused_until:
            self.pending_runs.add(run_id)
            return
        try:
            function()
        except Exception as error:
            end = time.monotonic()
            if end - start > SLOW_SECONDS:
                self._paused_until = end + PAUSE_SECONDS
            self.pending_runs.add(run_id)
            self._warn_once(run_id, folder, error)

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
