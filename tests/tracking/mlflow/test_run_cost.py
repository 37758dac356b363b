"""What a run costs MLflow: a fixed number of requests, whatever happens while it is uploaded."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import sqlalchemy
from mlflow.exceptions import MlflowException
from sqlalchemy.engine import Engine

from kdsweep.common.files import read_json
from kdsweep.tracking import recorder as module
from kdsweep.tracking.mlflow.run_sync import sync
from kdsweep.tracking.mlflow.store import MLflowStore
from kdsweep.tracking.mlflow.upload_queue import UploadQueue
from kdsweep.tracking.recorder import Recorder, RunInfo
from kdsweep.tracking.result import RunResult

pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"
)
REQUESTS = (
    "create_run",
    "get_run",
    "search_runs",
    "get_metric_history",
    "log_batch",
    "log_inputs",
    "set_terminated",
    "update_run",
    "delete_tag",
)
# A run that has ended before its first upload.
AT_ONCE = {"create_run": 1, "log_batch": 1, "log_inputs": 1, "set_terminated": 1}


@pytest.fixture
def requests(store: MLflowStore, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each request of the client is made."""
    counts: Counter[str] = Counter()

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            counts[name] += 1
            return real(*args, **named)

        return call

    for name in REQUESTS:
        monkeypatch.setattr(store.client, name, counted(name, getattr(store.client, name)))
    return counts


@contextmanager
def commits() -> Iterator[list[object]]:
    """The commits of all engines inside."""
    seen: list[object] = []

    def note(connection: object) -> None:
        seen.append(connection)

    sqlalchemy.event.listen(Engine, "commit", note)
    try:
        yield seen
    finally:
        sqlalchemy.event.remove(Engine, "commit", note)


def record(
    folder: Path,
    store: MLflowStore | None,
    uploads: UploadQueue | None = None,
    *,
    epochs: int = 3,
    status: str = "FINISHED",
    then: Callable[[], object] = lambda: None,
) -> Recorder:
    """Record a run; ``then`` is called after each of its parts."""
    recorder = Recorder(folder, store=store, uploads=uploads)
    info = RunInfo(
        name="kl T=4",
        role="run",
        fingerprint="f00d",
        cell="kl",
        seed=0,
        params={f"p{number}": number for number in range(60)},
        tags={"kdsweep.role": "run"},
        dataset={"name": "digits", "digest": "abc", "context": "training"},
    )
    recorder.start(info)
    then()
    for epoch in range(epochs):
        recorder.epoch(epoch, {"val/acc": epoch / 10, "train/loss": 1.0})
        then()
    recorder.epoch(epochs - 1, {"test/acc": 0.5})
    (folder / "curves.png").write_bytes(b"picture")
    result = {"status": status, "epochs": epochs, "seconds": 2.0, "val/acc_best": 0.2}
    recorder.finish(RunResult.from_json({**result, "weights_sha256": "ab", "reason": "r"}))
    then()
    return recorder


def content(store: MLflowStore, folder: Path) -> dict[str, Any]:
    """All that MLflow has of a folder's run, but for its id, folder and times."""
    run_id = read_json(folder / "run.json")["mlflow_run_id"]
    run = store.client.get_run(run_id)
    inputs = [(i.dataset.to_dictionary(), i.tags[0].value) for i in run.inputs.dataset_inputs]
    points = {
        key: sorted((p.step, p.value) for p in store.client.get_metric_history(run_id, key))
        for key in run.data.metrics
    }
    files = {
        entry.path
        for place in (None, "config")
        for entry in store.client.list_artifacts(run_id, place)
    }
    tags = {k: v for k, v in run.data.tags.items() if k != "kdsweep.folder"}
    return {
        "info": (run.info.run_name, run.info.status, run.info.end_time is not None),
        "params": run.data.params,
        "tags": tags,
        "points": points,
        "files": files,
        "inputs": inputs,
    }


@pytest.mark.parametrize("status", ["FINISHED", "PRUNED"])
def test_a_run_that_ends_before_its_first_upload_is_four_requests(
    tmp_path: Path, store: MLflowStore, requests: Counter[str], status: str
) -> None:
    uploads = UploadQueue()
    with commits() as seen:
        record(tmp_path / "0", store, uploads, status=status)
        assert uploads.close(20)
    assert not uploads.pending_runs
    assert requests == AT_ONCE
    assert len(seen) == 2  # one with all its content, one with its end


def test_epochs_cost_one_request_in_a_while_and_nothing_is_read(
    tmp_path: Path, store: MLflowStore, requests: Counter[str]
) -> None:
    uploads = UploadQueue()
    record(tmp_path / "0", store, uploads, epochs=5, then=lambda: uploads.when_done().wait(20))
    assert uploads.close(20)
    # At its start, after each epoch, and at its end.
    assert requests == {**AT_ONCE, "log_batch": 7}


def test_a_run_that_ends_soon_is_not_uploaded_before(
    tmp_path: Path, store: MLflowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "UPLOAD_SECONDS", 0.0)
    uploads = UploadQueue()
    recorder = Recorder(tmp_path / "0", store=store, uploads=uploads)
    info = RunInfo(name="a", role="run", fingerprint="f", cell="a", seed=0, params={}, tags={})
    recorder.start(info)
    recorder.epoch(0, {"val/acc": 0.5})
    assert not uploads.close(0)  # it is still waiting
    assert recorder.run_id is None


def test_metrics_of_a_run_in_training_are_uploaded_by_themselves(
    tmp_path: Path, store: MLflowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_SECONDS", 0.0)
    monkeypatch.setattr(module, "UPLOAD_SECONDS", 0.0)
    uploads, folder, uploaded = UploadQueue(), tmp_path / "0", Event()
    upload = module.run_sync.upload

    def uploads_rows(*arguments: Any, **named: Any) -> None:
        upload(*arguments, **named)  # committed when it returns
        if arguments[3]:
            uploaded.set()

    monkeypatch.setattr(module.run_sync, "upload", uploads_rows)
    recorder = Recorder(folder, store=store, uploads=uploads)
    info = RunInfo(name="a", role="run", fingerprint="f", cell="a", seed=0, params={}, tags={})
    recorder.start(info)
    recorder.epoch(0, {"val/acc": 0.5})
    assert uploaded.wait(20)
    assert content(store, folder)["points"] == {"val/acc": [(0, 0.5)]}
    assert content(store, folder)["info"] == ("a", "RUNNING", False)
    assert uploads.close(20)


@pytest.mark.ci
@pytest.mark.parametrize("status", ["FINISHED", pytest.param("PRUNED", marks=pytest.mark.slow)])
def test_mlflow_has_the_same_of_a_run_however_it_was_uploaded(
    tmp_path: Path, store: MLflowStore, status: str
) -> None:
    """At its end, part by part, and from its folder."""
    uploads = UploadQueue()
    folders = [tmp_path / name for name in ("end", "parts", "folder")]
    record(folders[0], store, uploads, status=status)
    record(folders[1], store, status=status)
    record(folders[2], None, status=status)
    sync(folders[2], store)
    assert uploads.close(20)
    at_end, in_parts, from_folder = (content(store, folder) for folder in folders)
    assert at_end == in_parts == from_folder
    assert len(at_end["params"]) == 60
    assert at_end["points"]["val/acc"] == [(0, 0.0), (1, 0.1), (2, 0.2)]
    assert at_end["files"] >= {"config/config.yaml", "result.json", "curves.png"}
    notes = [read_json(folder / "run.json") for folder in folders]
    assert all(note["shipped"] and note["mlflow_run_id"] for note in notes)
    results = [read_json(folder / "result.json")["mlflow_run_id"] for folder in folders]
    assert results == [note["mlflow_run_id"] for note in notes]


def test_a_data_set_that_another_writer_adds_at_once_is_logged(
    tmp_path: Path, store: MLflowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_inputs, attempts = store.client.log_inputs, []

    def collides(*arguments: Any) -> None:
        attempts.append(arguments)
        if len(attempts) == 1:
            raise MlflowException("UNIQUE constraint failed: datasets.experiment_id, datasets.name")
        log_inputs(*arguments)

    monkeypatch.setattr(store.client, "log_inputs", collides)
    record(tmp_path / "0", store)
    assert content(store, tmp_path / "0")["inputs"] != []
    assert len(attempts) == 2


def test_params_that_a_killed_process_had_not_logged_are_uploaded(
    tmp_path: Path, store: MLflowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*arguments: Any, **named: Any) -> None:
        raise ConnectionError("no route to host")

    with monkeypatch.context() as patch:
        patch.setattr(store, "log", killed)
        record(tmp_path / "0", store)
    assert read_json(tmp_path / "0/run.json")["mlflow_run_id"]
    sync(tmp_path / "0", store)
    assert len(content(store, tmp_path / "0")["params"]) == 60


@pytest.mark.ci
def test_the_end_is_uploaded_again_only_where_it_is_another(
    tmp_path: Path, store: MLflowStore
) -> None:
    recorder = record(tmp_path / "0", store)
    assert recorder.run_id is not None
    for _ in range(2):
        sync(tmp_path / "0", store)
    points = content(store, tmp_path / "0")["points"]
    assert points["seconds"] == [(2, 2.0)]
    again = {"status": "FINISHED", "epochs": 3, "seconds": 3.0, "val/acc_best": 0.2}
    recorder.finish(RunResult.from_json(again))
    sync(tmp_path / "0", store)
    found = content(store, tmp_path / "0")
    assert found["points"] == points | {"seconds": [(2, 2.0), (2, 3.0)]}
    assert "kdsweep.weights_sha256" not in found["tags"]  # the end that holds has none
