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
from kdsweep.tracking.mlflow import run_of_file, run_sync
from kdsweep.tracking.mlflow.run_end import as_status
from kdsweep.tracking.mlflow.run_state import RunState
from kdsweep.tracking.mlflow.store import MLflowStore, now_ms
from kdsweep.tracking.mlflow.upload_queue import UploadQueue
from kdsweep.tracking.result import RunResult
from kdsweep.tracking.run_dir import Row

OTHER_FILES = ("config_yaml", "overrides")  # what run.json does not have of `RunInfo`
TENSORBOARD = "tensorboard"  # folder of a run for its metrics as event files
# What happens to a run within so many seconds is one upload; MLflow's pages load charts less often.
UPLOAD_SECONDS = 5.0
# A run that ends within so many seconds is one upload in all.
FIRST_SECONDS = 15.0

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
        self._run: RunState | None = None  # what MLflow has of it, once it is open
        self._upload_key = str(folder)  # names this run in the upload queue
        self._started = 0  # of this attempt, as in run.json
        self._is_restart = False
        self._on_open: Callable[[str], object] | None = None
        # Written and not yet uploaded: all of them go to MLflow in one batch.
        self._pending_rows: deque[Row] = deque()
        self._result: RunResult | None = None  # of a run that has ended
        self._pictures: list[Path] = []

    @property
    def run_id(self) -> str | None:
        """The id of the MLflow run, once it is open."""
        return None if self._run is None else self._run.run_id

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
        self._is_restart = (self.folder / run_dir.RUN).exists()
        earlier = read_run_metadata(self.folder) or {}
        is_same = earlier.get("fingerprint") == info.fingerprint
        kept = run_dir.truncate_rows(self.folder, resume_epoch)
        if self.store is not None:  # an interrupted process may not have uploaded all of them
            self._pending_rows.extend(kept)
        self._on_open = on_open
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
        # A caller that waits for the MLflow run is not kept waiting.
        self._upload_within(FIRST_SECONDS if on_open is None else 0)

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
        self._upload_within(FIRST_SECONDS if self._run is None else UPLOAD_SECONDS)

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
            self._upload_within(0)
            if self.store is not None:
                path, status = self.folder / run_dir.RUN, as_status(result.status)
                self._submit(partial(run_of_file.close_run, self.store, path, status))
            raise
        if self._events is not None:
            self._events.close()
        self._pictures = list(pictures)
        self._result = result
        self._upload_within(0)

    def _upload_within(self, seconds: float) -> None:
        """Have all that is new uploaded, together with what is still to come in so many seconds."""
        if self.store is not None:
            self._submit(self._upload, within=seconds)

    def _upload(self) -> None:
        """Upload all that is written and not uploaded; after an outage, all that MLflow lacks."""
        if (store := self.store) is None or not self._is_current():
            return
        with run_of_file.no_other_uploads(self.folder):
            self._upload_to(store)

    def _upload_to(self, store: MLflowStore) -> None:
        is_first = self._run is None
        if self._upload_key in self.uploads.pending_runs:
            self._upload_missing(store)
        else:
            result = self._result  # before the rows: only then these are all of them
            rows = [self._pending_rows.popleft() for _ in range(len(self._pending_rows))]
            run = self._run
            if run is None and self._is_restart:
                run = run_of_file.reopen(store, self.folder / run_dir.RUN, result)
            self._run, _ = run_sync.upload(
                store,
                run,
                self.folder,
                rows,
                result,
                with_start=is_first,
                pictures=self._pictures,
            )
        if is_first and self._on_open is not None and self.run_id is not None:
            self._on_open(self.run_id)

    def _is_current(self) -> bool:
        """Whether no other recorder has started the run again since."""
        with UPDATE_LOCK:
            return bool(read_json(self.folder / run_dir.RUN)["started"] == self._started)

    def _upload_missing(self, store: MLflowStore) -> None:
        """Upload all that MLflow lacks of the run."""
        written = len(self._pending_rows)
        self._run, _ = run_sync.sync_run(self.folder, store, self._pictures)
        for _ in range(written):  # rows that have been written since are still pending
            self._pending_rows.popleft()
        self.uploads.pending_runs.discard(self._upload_key)
        logger.info("MLflow has caught up with run %s.", self._upload_key)

    def _submit(self, function: Callable[[], object], within: float = 0.0) -> None:
        self.uploads.submit(self._upload_key, function, folder=self.folder, within=within)
