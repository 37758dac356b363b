"""The end of a sweep: what MLflow lacks is tried once more, for a bounded time."""

import os
import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from threading import Event
from typing import NamedTuple

from kdsweep.tracking import run_dir
from kdsweep.tracking.metadata import TRIAL, read_result, read_run_metadata, read_trial_metadata
from kdsweep.tracking.mlflow import run_sync, trial_sync
from kdsweep.tracking.mlflow.store import MLflowStore
from kdsweep.tracking.mlflow.upload_queue import UploadQueue

RETRY_SECONDS = 1.0  # between two attempts at a store that is away
TRIES = 2  # at one upload to a store that responds
STEP_SECONDS = 0.1
SHOWN_AFTER = 1.0  # seconds of waiting; a store that works takes less

# Called with the number of pending uploads and the seconds left for them.
Show = Callable[[int, float], object]


class PendingUpload(NamedTuple):
    """Something that MLflow lacks."""

    folder: Path
    upload: Callable[[], object]


def pending_uploads(folders: Iterable[Path], store: MLflowStore) -> list[PendingUpload]:
    """The folders among those of runs and trials that have ended and are not whole in MLflow."""
    pending = []
    for folder in folders:
        trial, run = read_trial_metadata(folder) or {}, read_run_metadata(folder) or {}
        if "status" in trial and not trial.get("shipped"):
            pending.append(PendingUpload(folder, partial(trial_sync.sync_trial, folder, store)))
        if run and not run.get("shipped") and read_result(folder) is not None:
            pending.append(PendingUpload(folder, partial(run_sync.sync, folder, store)))
    return pending


def run_and_trial_dirs(folder: Path) -> list[Path]:
    """The folders of all runs and trials in a sweep's folder."""
    names = {TRIAL, run_dir.RUN}
    return sorted(Path(path) for path, _, files in os.walk(folder) if names & set(files))


def sync_command(sweep: Path, folders: Iterable[Path]) -> str:
    """The command that uploads folders: the sweep's for those inside of it comes first."""
    places = {sweep if folder.is_relative_to(sweep) else folder: None for folder in folders}
    ordered = sorted(places, key=lambda place: place != sweep)
    return shlex.join(["kdsweep", "sync", *map(str, ordered)])


class UploadRetrier:
    """Waits for MLflow, `seconds` in all of its calls together; Ctrl-C ends the waiting."""

    def __init__(
        self,
        uploads: UploadQueue,
        store: Callable[[], MLflowStore | None],
        seconds: float,
        show: Show,
    ) -> None:
        self._uploads, self._store, self._show = uploads, store, show
        self._left = self._total = seconds

    def limit(self, seconds: float) -> None:
        """Wait no longer than so many seconds from now on."""
        self._left = min(self._left, seconds)

    def drain(self, pending: int = 1) -> bool:
        """Wait until everything that was submitted is done; False if the time is over."""
        return self._wait(self._uploads.when_done(), pending)

    def upload_pending(self, pending_uploads: Callable[[], Sequence[PendingUpload]]) -> bool:
        """Upload all that is pending, again and again until the store has responded.

        What a store has refused twice while it responded is given up. ``pending_uploads`` returns
        what is pending at the time of the call. Returns whether nothing is pending any more.
        """
        tries: Counter[Path] = Counter()
        in_time = self.drain(len(pending_uploads()))
        pending = pending_uploads()
        while in_time and (todo := [p for p in pending if tries[p.folder] < TRIES]):
            in_time = self._try(todo, tries)
            pending = pending_uploads()
        return not pending

    def _try(self, todo: Sequence[PendingUpload], tries: "Counter[Path]") -> bool:
        """Try each upload once; False if the time is over."""
        self._uploads.end_pause()
        for folder, upload in todo:
            self._uploads.submit(str(folder), upload, folder=folder)
        responds = Event()

        def ping() -> None:
            store = self._store()
            assert store is not None, "without a store nothing is pending"
            store.client.get_experiment(store.experiment_id)
            responds.set()

        self._uploads.submit("the store", ping)
        if not self.drain(len(todo)):
            return False
        if responds.is_set():
            tries.update(folder for folder, _ in todo)
            return True
        return not self._wait(Event(), len(todo), at_most=RETRY_SECONDS) and self._left > 0

    def _wait(self, event: Event, pending: int, at_most: float | None = None) -> bool:
        """Wait for an event, showing how long it may still take; False if it has not come."""
        start = now = time.monotonic()
        end = start + (self._left if at_most is None else min(at_most, self._left))
        try:
            while not event.wait(max(0.0, min(STEP_SECONDS, end - now))):
                now = time.monotonic()
                if now >= end:
                    break
                left = max(0.0, self._left - (now - start))
                if self._total - left >= SHOWN_AFTER:
                    self._show(pending, left)
        except KeyboardInterrupt:
            self._left = 0.0
        self._left = max(0.0, self._left - (time.monotonic() - start))
        return event.is_set()
