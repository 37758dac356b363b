"""Several processes upload one run, a teacher that all of them wait for: MLflow has it once."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from filelock import FileLock, Timeout

from kdsweep.common.files import read_json
from kdsweep.tracking.metadata import TRIAL
from kdsweep.tracking.mlflow import run_of_file, trial_sync
from kdsweep.tracking.mlflow.run_of_file import LOCK
from kdsweep.tracking.mlflow.run_sync import sync
from kdsweep.tracking.mlflow.store import MLflowStore
from kdsweep.tracking.mlflow.upload_queue import UploadQueue
from kdsweep.tracking.recorder import Recorder, RunInfo
from kdsweep.tracking.result import RunResult
from kdsweep.tracking.run_dir import RUN

pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"
)

IDENTITY: dict[str, Any] = {
    "name": "teacher cnn digits",
    "role": "teacher",
    "fingerprint": "f00d",
    "cell": "ce",
    "seed": 0,
}
INFO = RunInfo(
    **IDENTITY,
    config_yaml="T: 4.0\n",
    overrides=[],
    params={"T": 4.0},
    tags={"kdsweep.role": "teacher", "kdsweep.fingerprint": "f00d"},
    dataset=None,
)
ENDED = RunResult.from_json({**IDENTITY, "status": "FINISHED", "val/acc": 0.5, "loss": "ce"})


def record(folder: Path, store: MLflowStore | None, uploads: UploadQueue) -> None:
    """A run of two epochs, from its start to its end."""
    recorder = Recorder(folder, store=store, uploads=uploads)
    recorder.start(INFO)
    for epoch in range(2):
        recorder.epoch(epoch, {"val/acc": epoch / 10})
    recorder.finish(ENDED)


@pytest.fixture
def stores(database: Path, monkeypatch: pytest.MonkeyPatch) -> list[MLflowStore]:
    """The store as three processes open it; between looking for a run and making one is time."""
    find = MLflowStore.find_run

    def slowly(self: MLflowStore, tags: Mapping[str, str]) -> str | None:
        found = find(self, tags)
        time.sleep(0.2)
        return found

    monkeypatch.setattr(MLflowStore, "find_run", slowly)
    folder = database.parent
    return [MLflowStore.open("sqlite:///mlflow.db", "kdsweep", cwd=folder) for _ in range(3)]


def at_once(stores: list[MLflowStore], call: Callable[[MLflowStore], object]) -> None:
    together = Barrier(len(stores))

    def work(store: MLflowStore) -> None:
        together.wait()
        call(store)

    with ThreadPoolExecutor(len(stores)) as pool:
        list(pool.map(work, stores))


@pytest.mark.ci
def test_a_run_that_has_ended(tmp_path: Path, stores: list[MLflowStore]) -> None:
    folder = tmp_path / "teacher"
    record(folder, None, UploadQueue(threaded=False))
    at_once(stores, lambda store: sync(folder, store))
    (run,) = stores[0].search()
    assert run.info.status == "FINISHED"
    history = stores[0].client.get_metric_history(run.info.run_id, "val/acc")
    assert [(point.step, point.value) for point in history] == [(0, 0.0), (1, 0.1)]


@pytest.mark.ci
def test_a_run_that_its_own_process_uploads(tmp_path: Path, stores: list[MLflowStore]) -> None:
    folder, uploads = tmp_path / "teacher", UploadQueue()
    with FileLock(folder / LOCK):  # its process is slow
        record(folder, stores[0], uploads)
        time.sleep(0.1)
    at_once(stores[1:], lambda store: sync(folder, store))
    assert uploads.close(20)
    assert not uploads.pending_runs
    assert len(stores[0].search()) == 1


@pytest.mark.ci
def test_a_trial(tmp_path: Path, stores: list[MLflowStore]) -> None:
    trial_sync.begin_trial(tmp_path, "trial 0: kl", {"kdsweep.cell": "kl"}, {"T": "4"})
    at_once(stores, lambda store: run_of_file.ensure_run(store, tmp_path / TRIAL))
    assert len(stores[0].search()) == 1


@pytest.mark.parametrize("result", [None, ENDED])
def test_a_new_run_whose_content_is_refused_is_not_there_and_made_by_the_next_upload(
    tmp_path: Path,
    store: MLflowStore,
    monkeypatch: pytest.MonkeyPatch,
    result: RunResult | None,
) -> None:
    uploads = UploadQueue()
    recorder = Recorder(tmp_path, store=store, uploads=uploads)

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no batch today")

    with monkeypatch.context() as patch:
        patch.setattr(store.client, "log_batch", refuse)
        recorder.start(INFO)
        if result is not None:
            recorder.finish(result)
        assert uploads.when_done().wait(20)
    assert store.search() == []
    assert read_json(tmp_path / RUN)["mlflow_run_id"] is None
    if result is None:
        recorder.epoch(0, {"val/acc": 0.5})
        assert uploads.when_done().wait(20)
    else:
        sync(tmp_path, store)
    (run,) = store.search()
    assert run.info.status == ("RUNNING" if result is None else "FINISHED")
    assert read_json(tmp_path / RUN)["mlflow_run_id"] == run.info.run_id


def test_a_process_that_never_ends_its_upload(
    tmp_path: Path, store: MLflowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(tmp_path, None, UploadQueue(threaded=False))
    monkeypatch.setattr(run_of_file, "LOCK_SECONDS", 0.1)
    with FileLock(tmp_path / LOCK), pytest.raises(Timeout):
        sync(tmp_path, store)
    assert store.search() == []


def test_a_folder_without_room_for_the_lock(
    tmp_path: Path, store: MLflowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(tmp_path, None, UploadQueue(threaded=False))

    def no_room(self: FileLock, *_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(FileLock, "acquire", no_room)
        sync(tmp_path, store)
    assert len(store.search()) == 1
