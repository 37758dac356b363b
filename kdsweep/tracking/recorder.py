"""One run's record: the run folder first, MLflow second.

The folder is what counts: it is complete without MLflow, and `sync` makes MLflow agree with it
at any later time. Only the folder's own errors (OSError: a full disk) reach the training loop.
"""

import json
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from kdsweep.common.files import UPDATE_LOCK, read_json, write_json_atomic, write_text_atomic
from kdsweep.tracking import run_dir
from kdsweep.tracking.metadata import run_note
from kdsweep.tracking.mlflow import run_sync
from kdsweep.tracking.mlflow.store import MLflowStore, now_ms
from kdsweep.tracking.mlflow.upload_queue import Shipper
from kdsweep.tracking.run_dir import RESULT_KEYS, Row
from kdsweep.tracking.tensorboard import EventFiles

logger = logging.getLogger(__name__)


class Recorder:
    """Records one run. Call `start`, then `epoch` and `log`, perhaps `test`, and `finish`.

    Without a store only the folder is written. With a store and no shipper, MLflow is written to
    in the caller's thread, and its errors are kept from the caller all the same.
    """

    def __init__(
        self,
        folder: Path,
        *,
        store: MLflowStore | None = None,
        shipper: Shipper | None = None,
        tensorboard: bool = False,
    ) -> None:
        self.folder = folder
        self.store = store
        self._tensorboard = tensorboard
        self._events: EventFiles | None = None
        self.shipper = shipper or Shipper(threaded=False)
        self.run_id: str | None = None
        self._key = str(folder)  # what the shipper calls this run
        self._started = 0  # of this attempt, as in run.json
        # Those that are written and not yet shipped; a slow store gets many in one batch.
        self._unshipped: deque[Row] = deque()
        self._already: set[tuple[str, int]] = set()  # (metric, step) a resumed run has in MLflow

    def start(
        self,
        identity: Mapping[str, object],
        config_yaml: str,
        overrides: Sequence[str],
        params: Mapping[str, object],
        tags: Mapping[str, str],
        parent_id: str | None = None,
        dataset: Mapping[str, Any] | None = None,
        resume_epoch: int = 0,
        opened: Callable[[str], object] | None = None,
    ) -> None:
        """Open the run's folder at once, and its MLflow run as soon as MLflow answers.

        ``identity`` holds name, role, fingerprint, cell and seed; ``dataset`` the arguments of
        `MLflowStore.log_dataset` after the run id. A run that goes on at ``resume_epoch`` > 0 keeps
        its MLflow run and its earlier rows. ``opened`` is called with the id of the MLflow run.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / run_dir.RESULT).unlink(missing_ok=True)  # it is running again
        is_restart = (self.folder / run_dir.RUN).exists()
        before = self._run_id_before(identity.get("fingerprint"))
        kept = run_dir.cut_rows(self.folder, resume_epoch)
        self._started = now_ms()
        run = {
            **identity,
            "mlflow_run_id": before,
            "parent_run_id": parent_id,
            "started": self._started,
            "params": dict(params),
            "tags": dict(tags),
            "dataset": dict(dataset) if dataset else None,
        }
        run_sync.write_note(self.folder, run)
        write_text_atomic(self.folder / run_dir.CONFIG, config_yaml)
        write_text_atomic(self.folder / run_dir.OVERRIDES, _yaml_list(overrides))
        self._key = f"{identity.get('name', self.folder.name)} in {self.folder}"
        if self._tensorboard:
            self._events = EventFiles(self.folder, resume_epoch)
        if self.store is not None:
            store = self.store
            self._submit(lambda: self._open_run(store, kept, is_restart, opened))

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Record one epoch's metrics."""
        row = run_dir.make_row(epoch, now_ms(), metrics)
        run_dir.append_row(self.folder, row)
        if self._events is not None:
            self._events.epoch(epoch, metrics)
        self._ship_row(row)

    def test(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Record the test metrics, measured once, under the last epoch's number."""
        self.epoch(epoch, metrics)

    def log(self, line: str) -> None:
        """Add a line to train.log, with the time of day."""
        stamp = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")
        with (self.folder / run_dir.LOG).open("a", encoding="utf-8") as file:
            file.write(f"{stamp}  {line}\n")

    def finish(self, result: Mapping[str, object], pictures: Iterable[Path] = ()) -> None:
        """Write result.json, then ship what belongs to the end of a run, its state last.

        ``result`` must hold ``status``; keys of result.json that it lacks are taken from run.json
        or are null. A run that is behind in MLflow is caught up here.
        """
        run = read_json(self.folder / run_dir.RUN)
        complete = {key: run.get(key) for key in RESULT_KEYS} | dict(result)
        complete["mlflow_run_id"] = self.run_id
        try:
            write_json_atomic(self.folder / run_dir.RESULT, complete)
        except OSError:
            if self.store is not None:
                close = partial(run_sync.close, self.store, self.folder, complete["status"])
                self._submit(close)
            raise
        if self._events is not None:
            self._events.close()
        if self.store is not None:
            store, extra = self.store, list(pictures)
            self._submit(lambda: self._ship_end(store, extra))

    def _run_id_before(self, fingerprint: object) -> str | None:
        """The MLflow run of an earlier, interrupted attempt at this very run."""
        before = run_note(self.folder)
        if before is None or before.get("fingerprint") != fingerprint:
            return None
        return before.get("mlflow_run_id")

    def _open_run(
        self,
        store: MLflowStore,
        kept: list[Row],
        may_exist: bool,
        opened: Callable[[str], object] | None = None,
    ) -> None:
        """Create the MLflow run (its id goes to run.json), or take up the old one."""
        run_id, is_new = run_sync.ensure_run(store, self.folder, may_exist=may_exist)
        if not is_new:
            store.reopen(run_id)
            store.drop_tags(run_id, run_sync.ENDED_TAGS)
            self._already = store.logged(run_id)
        self.run_id = run_id
        run_sync.ship_start(store, run_id, self.folder)
        if kept:
            # What the interrupted process had not shipped yet.
            store.log_missing(run_id, kept)
        if opened is not None:
            opened(run_id)

    def _ship_row(self, row: Row) -> None:
        if (store := self.store) is not None:
            self._unshipped.append(row)
            self._submit(lambda: self._ship_rows(store))

    def _ship_rows(self, store: MLflowStore) -> None:
        """Ship what is written and not shipped yet; after an outage, all that MLflow lacks."""
        if not self._is_current():
            return
        if self.run_id is None:
            self._open_run(store, [], may_exist=True)
        if self._key in self.shipper.behind:
            self._catch_up(store)
            return
        rows = [self._fresh(self._unshipped.popleft()) for _ in range(len(self._unshipped))]
        if self.run_id is not None and any(row["metrics"] for row in rows):
            store.log_rows(self.run_id, rows)

    def _fresh(self, row: Row) -> Row:
        """What of a row is new: a resumed run repeats epochs that MLflow may have seen before."""
        metrics = {
            k: v for k, v in row["metrics"].items() if (k, row["epoch"]) not in self._already
        }
        return {**row, "metrics": metrics}

    def _ship_end(self, store: MLflowStore, pictures: list[Path]) -> None:
        if not self._is_current():
            return
        if self.run_id is None or self._key in self.shipper.behind:
            self._catch_up(store, pictures)
        else:
            self._ship_rows(store)
            run_sync.ship_end(store, self.run_id, self.folder, pictures)

    def _is_current(self) -> bool:
        """Whether the run has not been started again, by another recorder, since it was by this."""
        with UPDATE_LOCK:
            return bool(read_json(self.folder / run_dir.RUN)["started"] == self._started)

    def _catch_up(self, store: MLflowStore, pictures: Iterable[Path] = ()) -> None:
        """Ship all that MLflow lacks of the run."""
        written = len(self._unshipped)
        run_sync.sync(self.folder, store, pictures)
        for _ in range(written):  # rows that have been written since are still to be shipped
            self._unshipped.popleft()
        self.shipper.behind.discard(self._key)
        logger.info("MLflow has caught up with run %s.", self._key)

    def _submit(self, function: Callable[[], object]) -> None:
        self.shipper.submit(self._key, function, folder=self.folder)


def _yaml_list(lines: Sequence[str]) -> str:
    # A JSON string is a YAML string, whatever is in it.
    return "".join(f"- {json.dumps(line, ensure_ascii=False)}\n" for line in lines) or "[]\n"
