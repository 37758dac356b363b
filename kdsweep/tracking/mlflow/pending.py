"""The end of a sweep: what MLflow lacks is tried once more, for a bounded time."""

import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from threading import Event
from typing import NamedTuple

from kdsweep.tracking import run_dir
from kdsweep.tracking.metadata import TRIAL
from kdsweep.tracking.mlflow import run_sync, trial_sync
from kdsweep.tracking.mlflow.store import MLflowStore
from kdsweep.tracking.mlflow.upload_queue import Shipper

RETRY_SECONDS = 1.0  # between two attempts at a store that does not answer
TRIES = 2  # at shipping one thing to a store that does
STEP_SECONDS = 0.1
SHOWN_AFTER = 1.0  # seconds of waiting; a store that works takes less

# How many things are still to be shipped, and the seconds left for it.
Show = Callable[[int, float], object]


class Task(NamedTuple):
    """Something that MLflow lacks."""

    folder: Path
    ship: Callable[[], object]


def lacking(folders: Iterable[Path], store: MLflowStore) -> list[Task]:
    """What has ended in folders of runs and trials, and MLflow has not all of."""
    found = []
    for folder in folders:
        if trial_sync.is_lacking(folder):
            found.append(Task(folder, partial(trial_sync.sync_trial, folder, store)))
        if run_sync.is_lacking(folder):
            found.append(Task(folder, partial(run_sync.sync, folder, store)))
    return found


def below(folder: Path) -> list[Path]:
    """The folders of all runs and trials in a sweep's folder."""
    names = (TRIAL, run_dir.RUN)
    return sorted({path.parent for name in names for path in folder.rglob(name)})


def sync_command(home: Path | None, tasks: Iterable[Task]) -> str:
    """The command that ships what is lacking."""
    folders = [task.folder for task in tasks]
    inside = [home for folder in folders if home is not None and folder.is_relative_to(home)]
    outside = [f for f in folders if home is None or not f.is_relative_to(home)]
    words = dict.fromkeys(str(folder) for folder in (*inside, *outside))
    return shlex.join(["kdsweep", "sync", *words])


class Settling:
    """Waits for MLflow, `seconds` in all of its calls together; Ctrl-C ends the waiting.

    Args:
        show: called while it waits.
    """

    def __init__(self, shipper: Shipper, store: MLflowStore, seconds: float, show: Show) -> None:
        self._shipper, self._store, self._show = shipper, store, show
        self._left = self._whole = seconds

    def limit(self, seconds: float) -> None:
        """Wait no longer than so many seconds from now on."""
        self._left = min(self._left, seconds)

    def drain(self, lacking: int = 1) -> bool:
        """Wait until everything that was submitted is done; False if the time is over."""
        return self._wait(self._shipper.mark(), lacking)

    def settle(self, lacking: Callable[[], Sequence[Task]]) -> bool:
        """Have everything shipped that is lacking, again and again until a store has answered.

        What a store has refused twice while it answered is given up.

        Args:
            lacking: what is to be shipped as things stand.

        Returns:
            Whether nothing is lacking any more.
        """
        tries: Counter[Path] = Counter()
        in_time = self.drain(len(lacking()))
        while in_time and (todo := [task for task in lacking() if tries[task.folder] < TRIES]):
            in_time = self._try(todo, tries)
        return not lacking()

    def _try(self, todo: Sequence[Task], tries: "Counter[Path]") -> bool:
        """Ship what is to be shipped; False if the time is over."""
        self._shipper.end_pause()
        for task in todo:
            self._shipper.submit(str(task.folder), task.ship, folder=task.folder)
        answered = Event()
        self._shipper.submit("the store", lambda: self._ask(answered))
        if not self.drain(len(todo)):
            return False
        if answered.is_set():
            tries.update(task.folder for task in todo)
            return True
        return not self._wait(Event(), len(todo), at_most=RETRY_SECONDS) and self._left > 0

    def _ask(self, answered: Event) -> None:
        self._store.client.get_experiment(self._store.experiment_id)
        answered.set()

    def _wait(self, event: Event, lacking: int, at_most: float | None = None) -> bool:
        """Wait for an event, showing how long it may still take; False if it has not come."""
        start = now = time.monotonic()
        end = start + (self._left if at_most is None else min(at_most, self._left))
        try:
            while not event.wait(max(0.0, min(STEP_SECONDS, end - now))):
                now = time.monotonic()
                if now >= end:
                    break
                left = max(0.0, self._left - (now - start))
                if self._whole - left >= SHOWN_AFTER:
                    self._show(lacking, left)
        except KeyboardInterrupt:
            self._left = 0.0
        self._left = max(0.0, self._left - (time.monotonic() - start))
        return event.is_set()
