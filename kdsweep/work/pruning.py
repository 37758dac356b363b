"""Runs in workers that are to stop early: by a file that the controller writes to their folders.

A worker does not wait for decisions. It looks for the file after each epoch, so that a run may have
trained some epochs more than it was decided by.
"""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kdsweep.common.files import look_anew, read_json, write_json_atomic
from kdsweep.execution.run_writer import EpochCallback
from kdsweep.execution.target import RunTarget
from kdsweep.runs.spec import RunSpec
from kdsweep.tracking.run_dir import read_new_rows

REQUEST = "prune.json"  # in the folder of a run that is to stop


class PruneRequests:
    """The callback of a worker: prunes the runs for which there is a request."""

    def __init__(self, targets: Iterable[RunTarget]) -> None:
        self._folders = {target.spec.fingerprint: target.run_dir for target in targets}

    def __call__(self, spec: RunSpec, epochs: int, metrics: Mapping[str, float]) -> str | None:
        folder, last = self._folders[spec.fingerprint], spec.config.trainer.epochs
        look_anew(folder)
        if epochs == last or not (folder / REQUEST).exists():
            return None
        # One that was set back to an earlier checkpoint is trained up to where it was decided.
        if epochs < read_json(folder / REQUEST)["epochs"]:
            return None
        return f"pruned after epoch {epochs} of {last}"


class EpochReports:
    """Calls a callback for each epoch that workers record, and requests what it decides."""

    def __init__(self, on_epoch: EpochCallback) -> None:
        self._on_epoch = on_epoch
        self._followed: dict[Path, RunSpec] = {}
        self._positions: dict[Path, int] = {}  # in metrics.jsonl

    def follow(self, targets: Iterable[RunTarget]) -> None:
        """These runs are to be trained. Epochs that they have recorded before are reported, too."""
        for target in targets:
            self._followed[target.run_dir], self._positions[target.run_dir] = target.spec, 0

    def look(self) -> None:
        """Report the epochs that are new, and request that runs stop."""
        for folder in self._followed:
            if (report := self._report(folder)) is not None and not (folder / REQUEST).exists():
                write_json_atomic(folder / REQUEST, report)

    def release(self, targets: Iterable[RunTarget]) -> None:
        """These runs are over; what is new of them is still reported."""
        for target in targets:
            self._report(target.run_dir)
            del self._followed[target.run_dir], self._positions[target.run_dir]

    def _report(self, folder: Path) -> dict[str, Any] | None:
        """Report what is new of a run; returns the request to prune it, if it is to be."""
        spec = self._followed[folder]
        rows, self._positions[folder] = read_new_rows(folder, self._positions[folder])
        request = None
        for row in rows:
            epochs = row["epoch"] + 1
            reason = self._on_epoch(spec, epochs, _finite_or_nan(row["metrics"]))
            if reason is not None and request is None:
                request = {"reason": reason, "epochs": epochs}
        return request


def _finite_or_nan(metrics: Mapping[str, float | None]) -> dict[str, float]:
    return {key: math.nan if value is None else value for key, value in metrics.items()}
