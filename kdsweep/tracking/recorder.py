"""One run's record: the run folder first, MLflow second.

The folder is what counts: it is complete without MLflow, and `sync` makes MLflow agree with it
at any later time. Only the folder's own errors (OSError: a full disk) reach the training loop.
"""

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

from kdsweep.tracking import run_folder
from kdsweep.tracking.database import first_line
from kdsweep.tracking.event_files import EventFiles
from kdsweep.tracking.files import read_json, write_json_atomic, write_text_atomic
from kdsweep.tracking.mlflow_store import MLflowStore, Status, now_ms
from kdsweep.tracking.notes import result_note, run_note
from kdsweep.tracking.run_folder import RESULT_KEYS, Row
from kdsweep.tracking.shipper import Shipper

FOLDER_TAG = "kdsweep.folder"  # where a run's (or a sweep's) folder is
FINGERPRINT_TAG = "kdsweep.fingerprint"
PRUNED_TAG = "kdsweep.pruned"
END_METRICS = ("val/acc_best", "epochs", "seconds")  # known once a run has ended, and only then
END_TAGS = {"reason": "kdsweep.reason", "weights_sha256": "kdsweep.weights_sha256"}

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
    ) -> None:
        """Open the run's folder and its MLflow run.

        ``identity`` holds name, role, fingerprint, cell and seed; ``dataset`` the arguments of
        `MLflowStore.log_dataset` after the run id. A run that goes on at ``resume_epoch`` > 0 keeps
        its MLflow run and its earlier rows.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / run_folder.RESULT).unlink(missing_ok=True)  # it is running again
        is_restart = (self.folder / run_folder.RUN).exists()
        before = self._run_id_before(identity.get("fingerprint"))
        kept = run_folder.cut_rows(self.folder, resume_epoch)
        run = {
            **identity,
            "mlflow_run_id": before,
            "parent_run_id": parent_id,
            "started": now_ms(),
            "params": dict(params),
            "tags": dict(tags),
            "dataset": dict(dataset) if dataset else None,
        }
        write_json_atomic(self.folder / run_folder.RUN, run)
        write_text_atomic(self.folder / run_folder.CONFIG, config_yaml)
        write_text_atomic(self.folder / run_folder.OVERRIDES, _yaml_list(overrides))
        self._key = f"{identity.get('name', self.folder.name)} in {self.folder}"
        if self._tensorboard:
            self._events = EventFiles(self.folder, resume_epoch)
        if self.store is not None:
            self._open_run(self.store, kept, is_restart)

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Record one epoch's metrics."""
        row = run_folder.make_row(epoch, now_ms(), metrics)
        run_folder.append_row(self.folder, row)
        if self._events is not None:
            self._events.epoch(epoch, metrics)
        self._ship_row(row)

    def test(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Record the test metrics, measured once, under the last epoch's number."""
        self.epoch(epoch, metrics)

    def log(self, line: str) -> None:
        """Add a line to train.log, with the time of day."""
        stamp = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")
        with (self.folder / run_folder.LOG).open("a", encoding="utf-8") as file:
            file.write(f"{stamp}  {line}\n")

    def finish(self, result: Mapping[str, object], pictures: Iterable[Path] = ()) -> None:
        """Write result.json, then ship what belongs to the end of a run, its state last.

        ``result`` must hold ``status``; keys of result.json that it lacks are taken from run.json
        or are null. A run that is behind in MLflow is caught up here.
        """
        run = read_json(self.folder / run_folder.RUN)
        complete = {key: run.get(key) for key in RESULT_KEYS} | dict(result)
        complete["mlflow_run_id"] = self.run_id
        write_json_atomic(self.folder / run_folder.RESULT, complete)
        if self._events is not None:
            self._events.close()
        if self.store is not None:
            store, extra = self.store, list(pictures)
            self._submit(lambda: self._ship_end(store, str(complete["status"]), extra))

    def _run_id_before(self, fingerprint: object) -> str | None:
        """The MLflow run of an earlier, interrupted attempt at this very run."""
        before = run_note(self.folder)
        if before is None or before.get("fingerprint") != fingerprint:
            return None
        return before.get("mlflow_run_id")

    def _open_run(self, store: MLflowStore, kept: list[Row], is_restart: bool) -> None:
        """Create the MLflow run at once (its id goes to run.json), or take up the old one."""
        try:
            run_id, is_new = _ensure_run(store, self.folder, may_exist=is_restart)
            if not is_new:
                store.reopen(run_id)
                store.drop_tags(run_id, [*END_TAGS.values(), PRUNED_TAG])
                self._already = store.logged(run_id)
        except Exception as error:
            self.shipper.behind.add(self._key)
            logger.warning(
                "MLflow has no run for %s yet (%s). Training goes on and its folder will be "
                "complete; what is still missing at its end, `kdsweep sync %s` ships later.",
                self._key,
                first_line(error),
                self.folder,
            )
            return
        self.run_id = run_id
        self._submit(lambda: _ship_start(store, run_id, self.folder))
        if kept:
            # What the interrupted process had not shipped yet.
            self._submit(lambda: store.log_missing(run_id, kept))

    def _ship_row(self, row: Row) -> None:
        store, run_id = self.store, self.run_id
        if store is None or run_id is None:
            return
        # A resumed run repeats epochs that MLflow may have seen before the interruption.
        fresh = {k: v for k, v in row["metrics"].items() if (k, row["epoch"]) not in self._already}
        if fresh:
            self._submit(
                lambda: store.log_metrics(run_id, row["epoch"], row["time"], fresh), can_wait=True
            )

    def _ship_end(self, store: MLflowStore, status: str, pictures: list[Path]) -> None:
        if self.run_id is None or self._key in self.shipper.behind:
            self._catch_up(store, pictures)
            return
        try:
            _ship_results(store, self.run_id, self.folder, pictures)
            store.finish(self.run_id, _as_status(status))
            _mark_shipped(self.folder)
        except Exception:
            self._catch_up(store, pictures)

    def _catch_up(self, store: MLflowStore, pictures: list[Path]) -> None:
        try:
            _sync(self.folder, store, pictures)
        except Exception as error:
            self.shipper.behind.add(self._key)
            logger.warning(
                "MLflow lacks some of run %s (%s): `kdsweep sync %s` ships it later.",
                self._key,
                first_line(error),
                self.folder,
            )
        else:
            self.shipper.behind.discard(self._key)
            logger.info("MLflow has caught up with run %s.", self._key)

    def _submit(self, function: Callable[[], object], *, can_wait: bool = False) -> None:
        self.shipper.submit(self._key, function, folder=self.folder, can_wait=can_wait)


def is_shipped(folder: Path) -> bool:
    """Whether MLflow has all of a run that has ended; a process may die before it is so."""
    return bool((run_note(folder) or {}).get("shipped"))


def sync(folder: Path, store: MLflowStore) -> int:
    """Make MLflow agree with a run folder; returns how many rows it lacked.

    A run that MLflow has never seen is created. A folder without result.json keeps its run as it
    is: it may still be training. Raises ValueError for a folder that is no run folder.
    """
    if not (folder / run_folder.RUN).exists():
        raise ValueError(f"FOLDER must be a run folder (with a {run_folder.RUN}), got {folder}")
    return _sync(folder, store, [])


def _sync(folder: Path, store: MLflowStore, pictures: list[Path]) -> int:
    run_id, _ = _ensure_run(store, folder, may_exist=True)
    _ship_start(store, run_id, folder)
    rows = run_folder.read_rows(folder)
    shipped = store.log_missing(run_id, rows)
    if (result := result_note(folder)) is not None:
        if result["mlflow_run_id"] != run_id:
            write_json_atomic(folder / run_folder.RESULT, result | {"mlflow_run_id": run_id})
        _ship_results(store, run_id, folder, pictures)
        end = rows[-1]["time"] if rows else None
        store.finish(run_id, _as_status(result["status"]), end)
        _mark_shipped(folder)
    return shipped


def _mark_shipped(folder: Path) -> None:
    path = folder / run_folder.RUN
    write_json_atomic(path, read_json(path) | {"shipped": True})


def _ensure_run(store: MLflowStore, folder: Path, *, may_exist: bool) -> tuple[str, bool]:
    """The MLflow run of a folder, and whether it had to be created (and noted in run.json).

    With `may_exist` a run is looked for that an earlier process created and could not note.
    """
    path = folder / run_folder.RUN
    run = read_json(path)
    known = run.get("mlflow_run_id")
    if known and store.has_run(known):
        return str(known), False
    own = {FOLDER_TAG: str(folder.absolute()), FINGERPRINT_TAG: str(run["fingerprint"])}
    if may_exist and (lost := store.find_run(own)):
        store.log_params(lost, run.get("params") or {})
        write_json_atomic(path, run | {"mlflow_run_id": lost})
        return lost, False
    run_id = store.create_run(
        name=run["name"],
        parent_id=run.get("parent_run_id"),
        tags={**(run.get("tags") or {}), **own},
        params=run.get("params") or {},
        start_time_ms=run.get("started"),
    )
    write_json_atomic(path, run | {"mlflow_run_id": run_id})
    return run_id, True


def _ship_start(store: MLflowStore, run_id: str, folder: Path) -> None:
    for name in (run_folder.CONFIG, run_folder.OVERRIDES):
        store.log_artifact(run_id, folder / name, "config")
    dataset = read_json(folder / run_folder.RUN).get("dataset")
    if dataset:
        store.log_dataset(run_id, **dataset)


def _ship_results(store: MLflowStore, run_id: str, folder: Path, pictures: list[Path]) -> None:
    weights = folder / run_folder.WEIGHTS
    if weights.exists():
        store.log_artifact(run_id, weights, "checkpoint")
    for name in (run_folder.RESULT, run_folder.ANSWERS):
        if (folder / name).exists():
            store.log_artifact(run_id, folder / name)
    _ship_outcome(store, run_id, read_json(folder / run_folder.RESULT))
    for picture in sorted({*pictures, *folder.glob("*.png")}):
        store.log_artifact(run_id, picture)


def _ship_outcome(store: MLflowStore, run_id: str, result: Mapping[str, Any]) -> None:
    """What MLflow has heard in no epoch: whoever reads MLflow alone finds all of result.json."""
    known = {key: float(v) for key in END_METRICS if (v := result.get(key)) is not None}
    if known:
        store.log_changed(run_id, max(int(result.get("epochs") or 0) - 1, 0), now_ms(), known)
    tags = {tag: str(result[key]) for key, tag in END_TAGS.items() if result.get(key) is not None}
    if result.get("status") == "PRUNED":  # MLflow has no such state
        tags[PRUNED_TAG] = "true"
    if tags:
        store.set_tags(run_id, tags)


def _as_status(status: object) -> Status:
    if status == "PRUNED":  # MLflow has no state of its own for it; the tag tells
        return "KILLED"
    for known in get_args(Status):
        if status == known:
            return known  # type: ignore[no-any-return]
    raise ValueError(f"status must be one of {', '.join(get_args(Status))}, got {status}")


def _yaml_list(lines: Sequence[str]) -> str:
    # A JSON string is a YAML string, whatever is in it.
    return "".join(f"- {json.dumps(line, ensure_ascii=False)}\n" for line in lines) or "[]\n"
