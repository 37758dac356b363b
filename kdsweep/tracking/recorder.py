"""One run's record: the run folder first, MLflow second.

The folder is authoritative: it is complete without MLflow, and `sync` makes MLflow agree with it
at any later time. Only the folder's own errors (OSError: a full disk) reach the training loop.
"""

import json
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from kdsweep.common.files import UPDATE_LOCK, read_json, write_json_atomic, write_text_atomic
from kdsweep.tracking import run_dir
from kdsweep.tracking.metadata import read_run_metadata
from kdsweep.tracking.mlflow import run_sync
from kdsweep.tracking.mlflow.store import MLflowStore, now_ms
from kdsweep.tracking.mlflow.upload_queue import UploadQueue
from kdsweep.tracking.result import RunResult
from kdsweep.tracking.run_dir import Row

OTHER_FILES = ("config_yaml", "overrides")  # what run.json does not have of `RunInfo`
TENSORBOARD = "tensorboard"  # folder of a run for its metrics as event files

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """What is known of a run before its first epoch."""

    name: str
    role: str
    fingerprint: str
    cell: str
    seed: int
    config_yaml: str = ""
    overrides: Sequence[str] = ()
    params: Mapping[str, object]
    tags: Mapping[str, str]
    parent_run_id: str | None = None
    dataset: Mapping[str, Any] | None = None  # as for `MLflowStore.log_dataset`
    log_model: bool = False  # whether MLflow gets a model of it (`tracking.models`)


class Recorder:
    """Records one run. Call `start`, then `epoch` and `log`, and `finish`.

    Without a store only the folder is written. With a store and no upload queue, MLflow is written
    to in the caller's thread, and its errors are kept from the caller all the same.
    """

    def __init__(
        self,
        folder: Path,
        *,
        store: MLflowStore | None = None,
        uploads: UploadQueue | None = None,
        tensorboard: bool = False,
    ) -> None:
        self.folder = folder
        self.store = store
        self._tensorboard = tensorboard
        self._events: Any = None  # TensorBoard's writer
        self.uploads = uploads or UploadQueue(threaded=False)
        self.run_id: str | None = None
        self._upload_key = str(folder)  # names this run in the upload queue
        self._started = 0  # of this attempt, as in run.json
        # Written and not yet uploaded; a slow store gets many in one batch.
        self._pending_rows: deque[Row] = deque()
        self._already: set[tuple[str, int]] = set()  # (metric, step) in MLflow

    def start(
        self,
        info: RunInfo,
        *,
        resume_epoch: int = 0,
        on_open: Callable[[str], object] | None = None,
    ) -> None:
        """Open the run's folder at once, and its MLflow run as soon as MLflow is available.

        A run that is resumed at ``resume_epoch`` > 0 keeps its MLflow run and its earlier rows.
        ``on_open`` is called with the id of the MLflow run.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / run_dir.RESULT).unlink(missing_ok=True)  # it is running again
        is_restart = (self.folder / run_dir.RUN).exists()
        earlier = read_run_metadata(self.folder) or {}
        is_same = earlier.get("fingerprint") == info.fingerprint
        kept = run_dir.truncate_rows(self.folder, resume_epoch)
        self._started = now_ms()
        metadata = {key: value for key, value in vars(info).items() if key not in OTHER_FILES}
        metadata["mlflow_run_id"] = earlier.get("mlflow_run_id") if is_same else None
        metadata["started"] = self._started
        with UPDATE_LOCK:
            write_json_atomic(self.folder / run_dir.RUN, metadata)
        write_text_atomic(self.folder / run_dir.CONFIG, info.config_yaml)
        # A JSON string is a YAML string, whatever is in it.
        lines = [f"- {json.dumps(line, ensure_ascii=False)}\n" for line in info.overrides]
        write_text_atomic(self.folder / run_dir.OVERRIDES, "".join(lines) or "[]\n")
        self._upload_key = f"{info.name} in {self.folder}"
        if self._tensorboard:
            from torch.utils.tensorboard import SummaryWriter  # an extra

            # Points of epochs that are trained again are replaced.
            self._events = SummaryWriter(str(self.folder / TENSORBOARD), purge_step=resume_epoch)
        if self.store is not None:
            self._submit(partial(self._open_run, self.store, kept, is_restart, on_open))

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Record an epoch's metrics, or those on the test set under the last epoch's number."""
        row = run_dir.make_row(epoch, now_ms(), metrics)
        run_dir.append_row(self.folder, row)
        if self._events is not None:
            for name, value in metrics.items():
                self._events.add_scalar(name, value, epoch)
            self._events.flush()
        if self.store is not None:
            self._pending_rows.append(row)
            self._submit(partial(self._upload_rows, self.store))

    def log(self, line: str) -> None:
        """Add a line to train.log, with the time of day."""
        stamp = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")
        with (self.folder / run_dir.LOG).open("a", encoding="utf-8") as file:
            file.write(f"{stamp}  {line}\n")

    def finish(self, result: RunResult, pictures: Iterable[Path] = ()) -> None:
        """Write result.json, then upload what belongs to the end of a run, its state last.

        A run of which MLflow lacks something is uploaded as a whole here.
        """
        try:
            write_json_atomic(self.folder / run_dir.RESULT, result.to_json())
        except OSError:
            if self.store is not None:
                path, status = self.folder / run_dir.RUN, run_sync.as_status(result.status)
                self._submit(partial(run_sync.close_run, self.store, path, status))
            raise
        if self._events is not None:
            self._events.close()
        if self.store is not None:
            self._submit(partial(self._upload_end, self.store, list(pictures)))

    def _open_run(
        self,
        store: MLflowStore,
        kept: list[Row],
        may_exist: bool,
        on_open: Callable[[str], object] | None = None,
    ) -> None:
        """Create the MLflow run (its id goes to run.json), or reopen that of an earlier attempt."""
        run_id, is_new = run_sync.ensure_run(store, self.folder / run_dir.RUN, may_exist=may_exist)
        if not is_new:
            store.reopen(run_id)
            store.drop_tags(run_id, run_sync.ENDED_TAGS)
            self._already = store.logged(run_id)
        self.run_id = run_id
        run_sync.upload_start(store, run_id, self.folder)
        # What the interrupted process had not uploaded yet.
        store.log_missing(run_id, kept, self._already)
        if on_open is not None:
            on_open(run_id)

    def _upload_rows(self, store: MLflowStore) -> None:
        """Upload rows that are written and not uploaded; after an outage, all that MLflow lacks."""
        if not self._is_current():
            return
        if self.run_id is None:
            self._open_run(store, [], may_exist=True)
        if self._upload_key in self.uploads.pending_runs:
            self._upload_missing(store)
            return
        assert self.run_id is not None, "it is open"
        rows = [self._pending_rows.popleft() for _ in range(len(self._pending_rows))]
        # A resumed run repeats epochs, of which MLflow has some metrics.
        store.log_missing(self.run_id, rows, self._already)

    def _upload_end(self, store: MLflowStore, pictures: list[Path]) -> None:
        if not self._is_current():
            return
        if self.run_id is None or self._upload_key in self.uploads.pending_runs:
            self._upload_missing(store, pictures)
        else:
            self._upload_rows(store)
            run_sync.upload_end(store, self.run_id, self.folder, pictures)

    def _is_current(self) -> bool:
        """Whether no other recorder has started the run again since."""
        with UPDATE_LOCK:
            return bool(read_json(self.folder / run_dir.RUN)["started"] == self._started)

    def _upload_missing(self, store: MLflowStore, pictures: Iterable[Path] = ()) -> None:
        """Upload all that MLflow lacks of the run."""
        written = len(self._pending_rows)
        run_sync.sync(self.folder, store, pictures)
        for _ in range(written):  # rows that have been written since are still pending
            self._pending_rows.popleft()
        self.uploads.pending_runs.discard(self._upload_key)
        logger.info("MLflow has caught up with run %s.", self._upload_key)

    def _submit(self, function: Callable[[], object]) -> None:
        self.uploads.submit(self._upload_key, function, folder=self.folder)
