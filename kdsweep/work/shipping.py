"""Uploads the runs of all units in training: only this process writes to MLflow."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from kdsweep.execution.context import TrainingContext
from kdsweep.tracking.follower import RunFollower


class Shipper:
    """Follows run folders from when their unit is placed until it is over."""

    def __init__(self, context: TrainingContext) -> None:
        self._context = context
        self._followers: dict[Path, RunFollower] = {}
        self._units: Counter[Path] = Counter()  # that write to a folder

    def follow(self, folders: Iterable[Path]) -> None:
        """A unit that writes these folders is placed."""
        for folder in folders:
            self._units[folder] += 1
            self._context.run_dirs.add(folder)
            if self._context.store is not None and folder not in self._followers:
                self._followers[folder] = RunFollower(
                    folder, self._context.store, self._context.uploads, self._context.monitor
                )

    def look(self, folders: Iterable[Path]) -> None:
        """Have what is new in these folders uploaded."""
        for folder in folders:
            if (follower := self._followers.get(folder)) is not None:
                follower.look()

    def release(self, folders: Iterable[Path]) -> None:
        """A unit that wrote these folders is over; what is new there is still uploaded."""
        for folder in folders:
            self._units[folder] -= 1
            if self._units[folder] <= 0:
                del self._units[folder]
                if (follower := self._followers.pop(folder, None)) is not None:
                    follower.look()
