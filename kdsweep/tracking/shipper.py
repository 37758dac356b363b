"""Carries work to MLflow while training goes on, and keeps MLflow's trouble away from it."""

import logging
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path

from kdsweep.tracking.database import first_line

# An error that took longer than this is taken for a store that is away, not for a bad row ...
SLOW_SECONDS = 1.0
# ... and it is not asked again for rows that long: what it missed is shipped at the run's end.
PAUSE_SECONDS = 30.0

logger = logging.getLogger(__name__)


class Shipper:
    """One thread that does what it is handed, in order; nothing it does can raise outside it.

    A run whose work failed (or was put off) is in ``behind``, until somebody takes it out.
    Without a thread (``threaded=False``) `submit` does the work itself, under the same guard.
    """

    def __init__(self, *, threaded: bool = True) -> None:
        self.behind: set[str] = set()
        self._warned: set[str] = set()
        self._closed = False
        self._paused_until = 0.0
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        if threaded:
            self._thread = threading.Thread(target=self._work, name="kdsweep-shipper", daemon=True)
            self._thread.start()

    def submit(
        self,
        run_id: str,
        function: Callable[[], object],
        *,
        folder: Path | None = None,
        can_wait: bool = False,
    ) -> None:
        """Have ``function`` called; returns at once.

        ``run_id`` is any name of the run it works for, ``folder`` what the warning tells the user
        to sync. Work that ``can_wait`` is put off while the store is away: somebody does it later.
        """

        def job() -> None:
            self._do(run_id, function, folder, can_wait)

        if self._thread is None:
            job()
        elif self._closed:
            self.behind.add(run_id)
        else:
            self._jobs.put(job)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything submitted so far is done; False if ``timeout`` seconds ran out."""
        if self._thread is None or not self._thread.is_alive():
            return True
        reached = threading.Event()
        self._jobs.put(reached.set)
        return reached.wait(timeout)

    def close(self, timeout: float = 120.0) -> bool:
        """Finish what was submitted, at most ``timeout`` seconds long; False if some was not."""
        if self._thread is None or self._closed:
            return True
        self._closed = True
        self._jobs.put(None)
        self._thread.join(timeout)
        if self._thread.is_alive():
            logger.warning(
                "MLflow was too slow: after %g s some of it is still not shipped. "
                "The run folders are complete; `kdsweep sync FOLDER` ships a run of them later.",
                timeout,
            )
            return False
        return True

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _do(
        self, run_id: str, function: Callable[[], object], folder: Path | None, can_wait: bool
    ) -> None:
        start = time.monotonic()
        if can_wait and start < self._paused_until:
            self.behind.add(run_id)
            return
        try:
            function()
        except Exception as error:
            end = time.monotonic()
            if end - start > SLOW_SECONDS:
                self._paused_until = end + PAUSE_SECONDS
            self.behind.add(run_id)
            self._warn_once(run_id, folder, error)

    def _warn_once(self, run_id: str, folder: Path | None, error: Exception) -> None:
        if run_id in self._warned:
            return
        self._warned.add(run_id)
        logger.warning(
            "MLflow did not take everything of run %s (%s). Training goes on and its folder is "
            "complete; what is still missing at its end, `kdsweep sync %s` ships later.",
            run_id,
            first_line(error),
            folder or "FOLDER",
        )
