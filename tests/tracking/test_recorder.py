"""The run folder first, MLflow second, and MLflow's errors nowhere."""

import json
import math
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from omegaconf import OmegaConf

from kdsweep.common.files import read_json
from kdsweep.tracking.mlflow.run_sync import sync
from kdsweep.tracking.mlflow.store import MLflowStore
from kdsweep.tracking.mlflow.upload_queue import UploadQueue
from kdsweep.tracking.recorder import Recorder, RunInfo
from kdsweep.tracking.result import RESULT_KEYS, RunResult
from kdsweep.tracking.run_dir import read_rows

pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"
)

IDENTITY: dict[str, Any] = {
    "name": "kl T=4 alpha=0.5 seed=0",
    "role": "run",
    "fingerprint": "f00d",
    "cell": "kl T=4 alpha=0.5",
    "seed": 0,
}
INFO: dict[str, Any] = {
    **IDENTITY,
    "config_yaml": "T: 4.0\n",
    "overrides": ["T=4", "loss=[kl,fitnet]", "x=${T}: #"],
    "params": {"T": 4.0},
    "tags": {"kdsweep.role": "run", "kdsweep.fingerprint": "f00d"},
    "dataset": {"name": "digits", "digest": "abc", "context": "training", "profile": {"n": 3}},
}
FINISHED = {**IDENTITY, "status": "FINISHED", "val/acc": 0.5, "T": 4.0, "alpha": 0.5, "loss": "kl"}


@pytest.fixture
def uploads() -> Iterator[UploadQueue]:
    uploads = UploadQueue()
    yield uploads
    assert uploads.close(20)


def start(recorder: Recorder, resume_epoch: int = 0, **changes: Any) -> None:
    info = RunInfo(**INFO | changes)
    recorder.start(info, resume_epoch=resume_epoch)


def train(recorder: Recorder, first: int, last: int) -> None:
    for epoch in range(first, last):
        recorder.epoch(epoch, {"train/loss": 1.0 / (epoch + 1), "val/acc": epoch / 10})


def end(recorder: Recorder, last: int, result: dict[str, Any] = FINISHED) -> None:
    recorder.epoch(last, {"test/acc": 0.5})
    (recorder.folder / "checkpoint").mkdir(exist_ok=True)
    (recorder.folder / "checkpoint/model.safetensors").write_bytes(b"weights")
    (recorder.folder / "checkpoint/classifier.json").write_text("{}")
    (recorder.folder / "curves.png").write_bytes(b"picture")
    recorder.finish(RunResult.from_json(result), [recorder.folder / "curves.png"])


def steps(store: MLflowStore, run_id: str, key: str) -> dict[int, int]:
    """How often the run has the metric at each step."""
    return Counter(entry.step for entry in store.client.get_metric_history(run_id, key))


def artifacts(store: MLflowStore, run_id: str, folder: str = "") -> set[str]:
    found = set()
    for entry in store.client.list_artifacts(run_id, folder):
        found |= artifacts(store, run_id, entry.path) if entry.is_dir else {entry.path}
    return found


def assert_complete(store: MLflowStore, folder: Path, epochs: int, status: str) -> None:
    """MLflow has what the folder has, each thing once."""
    run_id = read_json(folder / "run.json")["mlflow_run_id"]
    assert read_json(folder / "result.json")["mlflow_run_id"] == run_id
    once = dict.fromkeys(range(epochs), 1)
    assert steps(store, run_id, "val/acc") == once
    assert steps(store, run_id, "train/loss") == once
    assert steps(store, run_id, "test/acc") == {epochs - 1: 1}
    run = store.client.get_run(run_id)
    assert run.info.status == status
    assert run.data.params == {"T": "4.0"}
    assert run.data.tags["kdsweep.fingerprint"] == "f00d"
    assert len(run.inputs.dataset_inputs) == 1
    assert artifacts(store, run_id) == {
        "config/config.yaml",
        "config/overrides.yaml",
        "checkpoint/model.safetensors",
        "checkpoint/classifier.json",
        "result.json",
        "curves.png",
    }


def test_the_folder_is_complete_without_mlflow(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "0")
    start(recorder)
    recorder.log("epoch 0")
    train(recorder, 0, 2)
    end(recorder, 1)
    assert {path.name for path in recorder.folder.iterdir()} == {
        "run.json",
        "config.yaml",
        "overrides.yaml",
        "metrics.jsonl",
        "train.log",
        "checkpoint",
        "curves.png",
        "result.json",
    }
    run = read_json(recorder.folder / "run.json")
    assert {key: run[key] for key in IDENTITY} == IDENTITY
    assert run["mlflow_run_id"] is None
    assert run["parent_run_id"] is None
    assert [(row["epoch"], set(row["metrics"])) for row in read_rows(recorder.folder)] == [
        (0, {"train/loss", "val/acc"}),
        (1, {"train/loss", "val/acc"}),
        (1, {"test/acc"}),
    ]
    assert (recorder.folder / "train.log").read_text().endswith("  epoch 0\n")
    overrides = OmegaConf.load(recorder.folder / "overrides.yaml")
    assert OmegaConf.to_container(overrides) == ["T=4", "loss=[kl,fitnet]", "x=${T}: #"]


def test_result_json_has_every_key(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "0")
    start(recorder)
    recorder.finish(RunResult(**IDENTITY, status="FAILED", reason="loss is nan", val_loss=math.nan))
    result = read_json(recorder.folder / "result.json")
    assert tuple(result) == RESULT_KEYS
    assert result["cell"] == "kl T=4 alpha=0.5"
    assert result["reason"] == "loss is nan"
    assert result["val/loss"] is None
    assert result["test/acc"] is None


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_mlflow_gets_everything_once(
    tmp_path: Path, store: MLflowStore, uploads: UploadQueue, status: str
) -> None:
    recorder = Recorder(tmp_path / "0", store=store, uploads=uploads)
    start(recorder)
    train(recorder, 0, 5)
    end(recorder, 4, FINISHED | {"status": status})
    assert uploads.when_done().wait(20)
    assert_complete(store, recorder.folder, 5, status)
    assert not uploads.pending_runs


def test_a_run_has_its_mlflow_id_and_its_parent_from_the_start(
    tmp_path: Path, store: MLflowStore
) -> None:
    parent = store.create_run(name="sweep", parent_id=None, tags={}, params={})
    recorder = Recorder(tmp_path / "0", store=store)
    start(recorder, parent_run_id=parent)
    run = read_json(recorder.folder / "run.json")
    assert (run["mlflow_run_id"], run["parent_run_id"]) == (recorder.run_id, parent)
    assert recorder.run_id is not None
    assert store.client.get_run(recorder.run_id).data.tags["mlflow.parentRunId"] == parent


def test_result_json_is_written_after_the_metrics_and_before_the_end_in_mlflow(
    tmp_path: Path, store: MLflowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder, seen = Recorder(tmp_path / "0", store=store), []
    start(recorder)
    real = store.finish

    def look(*args: Any) -> None:
        rows = read_rows(recorder.folder)
        seen.append((len(rows), read_json(recorder.folder / "result.json")["status"]))
        assert recorder.run_id is not None
        assert "result.json" in artifacts(store, recorder.run_id)
        real(*args)

    monkeypatch.setattr(store, "finish", look)
    train(recorder, 0, 2)
    assert not (recorder.folder / "result.json").exists()
    end(recorder, 1)
    assert seen == [(3, "FINISHED")]


def test_a_resumed_run_keeps_its_own_mlflow_run(
    tmp_path: Path, store: MLflowStore, uploads: UploadQueue
) -> None:
    first = Recorder(tmp_path / "0", store=store, uploads=uploads)
    start(first)
    train(first, 0, 4)  # epochs 2 and 3 come after the last checkpoint
    first.finish(RunResult(status="KILLED"))
    assert uploads.when_done().wait(20)
    second = Recorder(tmp_path / "0", store=store, uploads=uploads)
    start(second, resume_epoch=2)
    assert uploads.when_done().wait(20)
    assert second.run_id == first.run_id
    assert second.run_id is not None
    assert not (second.folder / "result.json").exists()
    assert store.client.get_run(second.run_id).info.status == "RUNNING"
    train(second, 2, 6)
    end(second, 5)
    assert uploads.when_done().wait(20)
    assert [row["epoch"] for row in read_rows(second.folder)] == [0, 1, 2, 3, 4, 5, 5]
    assert_complete(store, second.folder, 6, "FINISHED")


@pytest.mark.parametrize("status", ["KILLED", "FAILED", "PRUNED"])
def test_a_resumed_run_has_the_points_of_one_that_was_never_interrupted(
    tmp_path: Path, store: MLflowStore, status: str
) -> None:
    result = {"val/acc_best": 0.2, "seconds": 2.0}
    cut = Recorder(tmp_path / "cut", store=store)
    start(cut)
    train(cut, 0, 3)
    ended = {"status": status, "reason": "interrupted", "epochs": 3, **result}
    cut.finish(RunResult.from_json(ended))
    assert cut.run_id is not None
    tags = store.client.get_run(cut.run_id).data.tags
    assert tags["kdsweep.so_far.epochs"] == "3.0"  # so that MLflow alone has them
    assert tags["kdsweep.so_far.seconds"] == "2.0"
    again, whole = (Recorder(tmp_path / name, store=store) for name in ("cut", "whole"))
    start(again, resume_epoch=2)
    train(again, 2, 5)
    start(whole)
    train(whole, 0, 5)
    points = []
    for recorder in (again, whole):
        end(recorder, 4, FINISHED | result | {"epochs": 5})
        assert recorder.run_id is not None
        run = store.client.get_run(recorder.run_id)
        assert not {key for key in run.data.tags if "so_far" in key or "reason" in key}
        keys = run.data.metrics
        points.append({key: steps(store, recorder.run_id, key) for key in keys})
    assert points[0] == points[1]
    assert points[0]["epochs"] == {4: 1}


def test_a_slow_store_gets_the_rows_of_many_epochs_at_once(
    tmp_path: Path, store: MLflowStore, uploads: UploadQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder, gate, batches = Recorder(tmp_path / "0", store=store, uploads=uploads), Event(), []
    start(recorder)
    assert uploads.when_done().wait(20)
    real = store.client.log_batch

    def log_batch(*arguments: Any, **named: Any) -> None:
        batches.append(named)
        gate.wait(10)
        real(*arguments, **named)

    monkeypatch.setattr(store.client, "log_batch", log_batch)
    train(recorder, 0, 50)
    gate.set()
    assert uploads.when_done().wait(20)
    assert len(batches) <= 3
    assert recorder.run_id is not None
    assert steps(store, recorder.run_id, "val/acc") == dict.fromkeys(range(50), 1)


def test_training_does_not_wait_for_a_store_that_hangs(
    tmp_path: Path, store: MLflowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, uploads = Event(), UploadQueue()
    for call in ("create_run", "search_runs", "get_run", "log_batch", "log_artifact"):
        monkeypatch.setattr(store.client, call, lambda *a, **k: gate.wait(30))
    recorder = Recorder(tmp_path / "0", store=store, uploads=uploads)
    began = time.monotonic()
    start(recorder)
    train(recorder, 0, 3)
    end(recorder, 2)
    assert time.monotonic() - began < 2
    assert not uploads.close(0.05)
    gate.set()
    assert read_json(recorder.folder / "result.json")["status"] == "FINISHED"


def test_a_resumed_run_uploads_what_the_killed_process_could_not(
    tmp_path: Path, store: MLflowStore
) -> None:
    offline = Recorder(tmp_path / "0", store=store)
    start(offline)
    offline.store = None
    train(offline, 0, 3)
    online = Recorder(tmp_path / "0", store=store)
    start(online, resume_epoch=3)
    assert online.run_id is not None
    assert steps(store, online.run_id, "val/acc") == {0: 1, 1: 1, 2: 1}


def test_a_resumed_test_is_recorded_once(tmp_path: Path, store: MLflowStore) -> None:
    for _ in range(2):
        recorder = Recorder(tmp_path / "0", store=store)
        start(recorder, resume_epoch=2 if (tmp_path / "0").exists() else 0)
        if not read_rows(recorder.folder):
            train(recorder, 0, 2)
        end(recorder, 1)
    assert len(read_rows(recorder.folder)) == 3
    assert_complete(store, recorder.folder, 2, "FINISHED")


def test_another_fingerprint_in_the_folder_is_another_mlflow_run(
    tmp_path: Path, store: MLflowStore
) -> None:
    first, second = (Recorder(tmp_path / "0", store=store) for _ in range(2))
    start(first)
    start(second, fingerprint="beef")
    assert first.run_id != second.run_id


def test_a_resumed_run_whose_mlflow_run_is_gone_gets_a_new_one_with_all_rows(
    tmp_path: Path, store: MLflowStore
) -> None:
    first = Recorder(tmp_path / "0", store=store)
    start(first)
    train(first, 0, 3)
    assert first.run_id is not None
    store.client.delete_run(first.run_id)
    second = Recorder(tmp_path / "0", store=store)
    start(second, resume_epoch=3)
    assert second.run_id != first.run_id
    end(second, 2)
    assert_complete(store, second.folder, 3, "FINISHED")


class Outage:
    """Makes calls of the MLflow client fail while it lasts."""

    def __init__(self, store: MLflowStore, monkeypatch: pytest.MonkeyPatch, *calls: str) -> None:
        self.over = False
        self.refused = 0
        for call in calls:
            # Not through the client: the files of a new run.
            place: Any = store if call == "log_artifact" else store.client
            monkeypatch.setattr(place, call, self._guard(getattr(place, call)))

    def _guard(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self.over:
                return real(*args, **kwargs)
            self.refused += 1
            raise ConnectionError("no route to host")

        return call


def test_what_an_outage_swallowed_is_uploaded_at_the_end(
    tmp_path: Path,
    store: MLflowStore,
    uploads: UploadQueue,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    recorder = Recorder(tmp_path / "0", store=store, uploads=uploads)
    start(recorder)
    train(recorder, 0, 2)
    assert uploads.when_done().wait(20)
    outage = Outage(store, monkeypatch, "log_batch")
    for epoch in (2, 3):
        train(recorder, epoch, epoch + 1)
        assert uploads.when_done().wait(20)
    assert outage.refused == 2
    assert len(uploads.pending_runs) == 1
    outage.over = True
    train(recorder, 4, 6)
    end(recorder, 5)
    assert uploads.when_done().wait(20)
    assert_complete(store, recorder.folder, 6, "FINISHED")
    assert not uploads.pending_runs
    assert caplog.text.count("kdsweep sync") == 1


@pytest.mark.parametrize(
    "calls", [("log_batch",), ("log_artifact",), ("create_run",), ("get_run",)]
)
def test_after_an_outage_that_does_not_end_sync_completes_the_run(
    tmp_path: Path,
    store: MLflowStore,
    uploads: UploadQueue,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    calls: tuple[str, ...],
) -> None:
    recorder = Recorder(tmp_path / "0", store=store, uploads=uploads)
    start(recorder)
    if calls == ("get_run",):  # it is called to catch up, for a run that is there
        assert uploads.when_done().wait(20)
    outage = Outage(store, monkeypatch, *calls)
    lost_rows = Outage(store, monkeypatch, "log_batch")
    train(recorder, 0, 3)
    assert uploads.when_done().wait(20)
    lost_rows.over = True
    end(recorder, 2)
    assert uploads.when_done().wait(20)
    assert len(uploads.pending_runs) == 1
    assert f"kdsweep sync {recorder.folder}" in caplog.text
    assert read_json(recorder.folder / "result.json")["status"] == "FINISHED"
    assert len(read_rows(recorder.folder)) == 4
    outage.over = True
    sync(recorder.folder, store)
    assert_complete(store, recorder.folder, 3, "FINISHED")
    assert sync(recorder.folder, store) == 0
    assert_complete(store, recorder.folder, 3, "FINISHED")


def test_sync_creates_the_run_of_a_folder_made_without_mlflow(
    tmp_path: Path, store: MLflowStore
) -> None:
    recorder = Recorder(tmp_path / "0")
    start(recorder)
    train(recorder, 0, 3)
    end(recorder, 2)
    shutil.move(recorder.folder, tmp_path / "moved")
    assert sync(tmp_path / "moved", store) == 4
    assert_complete(store, tmp_path / "moved", 3, "FINISHED")


def test_a_synced_run_lasted_as_long_as_it_trained(tmp_path: Path, store: MLflowStore) -> None:
    recorder = Recorder(tmp_path / "0")
    start(recorder)
    train(recorder, 0, 1)
    end(recorder, 0)
    line = json.loads((recorder.folder / "metrics.jsonl").read_text().splitlines()[-1])
    sync(recorder.folder, store)
    run = read_json(recorder.folder / "run.json")
    info = store.client.get_run(run["mlflow_run_id"]).info
    assert (info.start_time, info.end_time) == (run["started"], line["time"])


def test_sync_leaves_a_run_that_may_still_train_running(tmp_path: Path, store: MLflowStore) -> None:
    recorder = Recorder(tmp_path / "0")
    start(recorder)
    train(recorder, 0, 2)
    assert sync(recorder.folder, store) == 2
    run_id = read_json(recorder.folder / "run.json")["mlflow_run_id"]
    assert store.client.get_run(run_id).info.status == "RUNNING"


def test_sync_names_a_folder_that_is_no_run_folder(tmp_path: Path, store: MLflowStore) -> None:
    with pytest.raises(ValueError, match=r"FOLDER must be a run folder"):
        sync(tmp_path, store)


def test_a_value_that_is_not_finite_reaches_mlflow_as_nan(
    tmp_path: Path, store: MLflowStore
) -> None:
    recorder = Recorder(tmp_path / "0", store=store)
    start(recorder)
    recorder.epoch(0, {"train/loss": math.inf, "val/acc": math.nan})
    assert recorder.run_id is not None
    metrics = store.client.get_run(recorder.run_id).data.metrics
    assert math.isnan(metrics["train/loss"])
    assert math.isnan(metrics["val/acc"])


def test_a_run_that_ends_while_it_is_synced_is_not_whole_yet(
    tmp_path: Path, store: MLflowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its test row is written after the rows were read, and may never be uploaded."""
    recorder = Recorder(tmp_path / "run")
    start(recorder)
    train(recorder, 0, 2)
    log = store.log

    def ends_meanwhile(*arguments: Any, **named: Any) -> None:
        log(*arguments, **named)
        end(recorder, 1)

    with monkeypatch.context() as patch:
        patch.setattr(store, "log", ends_meanwhile)
        sync(recorder.folder, store)
    note = read_json(recorder.folder / "run.json")
    assert not note.get("shipped")
    sync(recorder.folder, store)
    assert steps(store, note["mlflow_run_id"], "test/acc") == {1: 1}
    assert read_json(recorder.folder / "run.json")["shipped"]
