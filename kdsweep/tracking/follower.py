"""Uploads a run to MLflow while another process writes its folder."""

from collections.abc import Callable
from pathlib import Path

from kdsweep.common.files import read_json
from kdsweep.tracking import run_dir
from kdsweep.tracking.metadata import read_result
from kdsweep.tracking.mlflow import run_of_file, run_sync
from kdsweep.tracking.mlflow.run_state import RunState
from kdsweep.tracking.mlflow.store import MLflowStore
from kdsweep.tracking.mlflow.upload_queue import UploadQueue
from kdsweep.tracking.recorder import UPLOAD_SECONDS

OF_ONE_UNIT = ("run", "peer")  # roles; a teacher or a stage may be one for several controllers

Stamp = tuple[int, int] | None  # modification time and size of a file


class RunFollower:
    """Follows one run folder; `look` requests an upload of what is new there.

    Only this process writes to MLflow; of a teacher or a stage for several controllers, one of them
    at a time. A run that has ended with its whole cohort may be resumed:
    its end is not uploaded here, but when the sweep ends.

    Args:
        on_open: called with the id and the role of the MLflow run, once it is there.
    """

    def __init__(
        self,
        folder: Path,
        store: MLflowStore,
        uploads: UploadQueue,
        on_open: Callable[[str, str], object],
    ) -> None:
        self.folder, self._store, self._uploads, self._on_open = folder, store, uploads, on_open
        self._may_exist = (folder / run_dir.RUN).exists()
        self._seen: tuple[Stamp, ...] = ()
        self._run: RunState | None = None
        self._started: object = None  # of the attempt that is uploaded, as in run.json
        self._position = 0  # in metrics.jsonl
        self._has_opened = False
        self._is_whole = False

    def look(self) -> None:
        """Have what is new uploaded, with what is still to come in the next seconds."""
        names = (run_dir.RUN, run_dir.METRICS, run_dir.RESULT)
        seen = tuple(_stamp(self.folder / name) for name in names)
        if self._is_whole or seen == self._seen or seen[0] is None:
            return
        self._seen = seen
        within = UPLOAD_SECONDS if seen[-1] is None else 0.0
        self._uploads.submit(str(self.folder), self._upload, folder=self.folder, within=within)

    def _upload(self) -> None:
        """Called by the queue's thread: upload what MLflow lacks."""
        with run_of_file.no_other_uploads(self.folder):
            self._upload_new()

    def _upload_new(self) -> None:
        content = read_json(self.folder / run_dir.RUN)
        result = read_result(self.folder)  # before the rows: only then these are all of them
        if result is not None and result.with_cohort:
            result = None
        if content.get("shipped"):  # by another process, or the upload at the end of an earlier one
            self._is_whole = True
            return
        is_pending = str(self.folder) in self._uploads.pending_runs
        is_shared = content.get("role") not in OF_ONE_UNIT
        if is_pending or is_shared or content.get("started") != self._started:  # started again
            self._run, self._position = None, 0
        rows, position = run_dir.read_new_rows(self.folder, self._position)
        is_first = self._run is None
        run = self._run
        if run is None and (self._may_exist or is_pending or is_shared or self._started):
            run = run_of_file.reopen(self._store, self.folder / run_dir.RUN, result)
        run, _ = run_sync.upload(self._store, run, self.folder, rows, result, with_start=is_first)
        self._run, self._position, self._started = run, position, content.get("started")
        self._uploads.pending_runs.discard(str(self.folder))
        self._is_whole = result is not None
        if not self._has_opened:
            self._has_opened = True
            self._on_open(run.run_id, str(content.get("role")))


def _stamp(path: Path) -> Stamp:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
