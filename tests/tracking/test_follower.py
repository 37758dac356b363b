"""A run that another process writes is uploaded as it grows, as if this process wrote it."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kdsweep.common.files import read_json
from kdsweep.tracking.follower import RunFollower
from kdsweep.tracking.mlflow.store import MLflowStore
from kdsweep.tracking.mlflow.upload_queue import UploadQueue
from kdsweep.tracking.recorder import Recorder, RunInfo
from kdsweep.tracking.result import RunResult

pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"
)

IDENTITY: dict[str, Any] = {
    **{"name": "kl T=4 seed=0", "role": "run", "fingerprint": "f00d", "cell": "kl T=4", "seed": 0}
}
INFO = RunInfo(
    **IDENTITY,
    config_yaml="T: 4.0\n",
    params={"T": 4.0},
    tags={"kdsweep.role": "run", "kdsweep.cell": "kl T=4"},
    dataset={"name": "digits", "digest": "abc", "context": "training", "profile": {"n": 3}},
)
FINISHED = {**IDENTITY, "status": "FINISHED", "val/acc": 0.5, "seconds": 3.0, "epochs": 3}


class Process:
    """The other process: it writes the folder, without MLflow."""

    def __init__(self, folder: Path, resume_epoch: int = 0, role: str = "run") -> None:
        self.recorder = Recorder(folder)
        self.recorder.start(replace(INFO, role=role), resume_epoch=resume_epoch)

    def train(self, first: int, last: int) -> None:
        for epoch in range(first, last):
            self.recorder.epoch(epoch, {"train/loss": 1.0 / (epoch + 1), "val/acc": epoch / 10})

    def end(self, **changes: Any) -> None:
        folder = self.recorder.folder
        self.recorder.epoch(2, {"test/acc": 0.5})
        (folder / "checkpoint").mkdir(exist_ok=True)
        (folder / "checkpoint/model.safetensors").write_bytes(b"weights")
        self.recorder.finish(RunResult.from_json(FINISHED | changes))


@pytest.fixture
def uploads() -> Iterator[UploadQueue]:
    queue = UploadQueue()
    yield queue
    assert queue.close(20)


@pytest.fixture
def follower(tmp_path: Path, store: MLflowStore, uploads: UploadQueue) -> RunFollower:
    return RunFollower(tmp_path / "0", store, uploads, lambda run_id, role: None)


def look(follower: RunFollower, uploads: UploadQueue) -> None:
    follower.look()
    assert uploads.when_done().wait(20)
    assert not uploads.pending_runs


def run_of(store: MLflowStore) -> Any:
    (run,) = store.search()
    return run


def points(store: MLflowStore, key: str) -> dict[int, int]:
    """How often the run has the metric at each step."""
    history = store.client.get_metric_history(run_of(store).info.run_id, key)
    return Counter(point.step for point in history)


def test_there_is_nothing_before_the_run_has_begun(
    follower: RunFollower, store: MLflowStore, uploads: UploadQueue
) -> None:
    look(follower, uploads)
    assert store.search() == []


def test_curves_grow_while_the_run_is_trained(
    follower: RunFollower, store: MLflowStore, uploads: UploadQueue
) -> None:
    process = Process(follower.folder)
    process.train(0, 1)
    look(follower, uploads)
    assert points(store, "val/acc") == {0: 1}
    assert run_of(store).info.status == "RUNNING"
    process.train(1, 3)
    look(follower, uploads)
    assert points(store, "val/acc") == {0: 1, 1: 1, 2: 1}


def test_it_ends_as_if_this_process_had_recorded_it(
    follower: RunFollower, store: MLflowStore, uploads: UploadQueue, tmp_path: Path
) -> None:
    process = Process(follower.folder)
    process.train(0, 3)
    look(follower, uploads)
    process.end()
    look(follower, uploads)
    followed = run_of(store)
    here = MLflowStore.open("sqlite:///mlflow.db", "here", cwd=tmp_path)
    recorder = Process.__new__(Process)
    recorder.recorder = Recorder(tmp_path / "here", store=here, uploads=UploadQueue(threaded=False))
    recorder.recorder.start(INFO)
    recorder.train(0, 3)
    recorder.end()
    own = run_of(here)
    assert followed.info.status == own.info.status == "FINISHED"
    assert followed.data.metrics == own.data.metrics
    assert followed.data.params == own.data.params
    tags = [
        {k: v for k, v in run.data.tags.items() if k != "kdsweep.folder"} for run in (followed, own)
    ]
    assert tags[0] == tags[1]
    files = [
        {f.path for f in s.client.list_artifacts(r.info.run_id)}
        for s, r in ((store, followed), (here, own))
    ]
    assert files[0] == files[1]
    assert read_json(follower.folder / "result.json")["mlflow_run_id"] == followed.info.run_id
    assert read_json(follower.folder / "run.json")["shipped"]


def test_a_run_that_is_resumed_by_another_process_has_no_point_twice(
    follower: RunFollower, store: MLflowStore, uploads: UploadQueue
) -> None:
    Process(follower.folder).train(0, 2)
    look(follower, uploads)
    again = Process(follower.folder, resume_epoch=1)
    again.train(1, 3)
    look(follower, uploads)
    again.end()
    look(follower, uploads)
    assert points(store, "val/acc") == {0: 1, 1: 1, 2: 1}
    assert points(store, "test/acc") == {2: 1}
    assert run_of(store).info.status == "FINISHED"


@pytest.mark.slow
def test_a_teacher_that_two_controllers_follow_is_one_run_and_has_no_point_twice(
    follower: RunFollower, store: MLflowStore, uploads: UploadQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each waits for it with units of its own, and looks at it at the same time."""
    both, new_run = threading.Barrier(2), store.new_run

    def make_together(**options: Any) -> Any:
        with suppress(threading.BrokenBarrierError):  # the other one waits for this one
            both.wait(1.0)
        return new_run(**options)

    monkeypatch.setattr(store, "new_run", make_together)
    queue = UploadQueue()
    other = RunFollower(follower.folder, store, queue, lambda run_id, role: None)
    process = Process(follower.folder, role="teacher")
    for first in range(3):
        process.train(first, first + 1)
        if first == 2:
            process.end(role="teacher")
        for one in (follower, other):
            one.look()
        for done in [one.when_done() for one in (uploads, queue)]:
            assert done.wait(20)
        assert not uploads.pending_runs | queue.pending_runs
    assert queue.close(20)
    assert points(store, "val/acc") == {0: 1, 1: 1, 2: 1}
    assert points(store, "test/acc") == {2: 1}
    assert run_of(store).info.status == "FINISHED"


def test_the_end_of_a_run_that_can_be_resumed_is_not_its_end(
    follower: RunFollower, store: MLflowStore, uploads: UploadQueue
) -> None:
    process = Process(follower.folder)
    process.train(0, 1)
    process.end(status="KILLED", with_cohort=True)
    look(follower, uploads)
    assert run_of(store).info.status == "RUNNING"


def test_an_outage_is_caught_up_with(
    follower: RunFollower,
    store: MLflowStore,
    uploads: UploadQueue,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    process = Process(follower.folder)
    process.train(0, 1)

    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("away")

    with monkeypatch.context() as patch:
        patch.setattr(store, "log", fail)
        follower.look()
        assert uploads.when_done().wait(20)
    assert uploads.pending_runs
    process.train(1, 3)
    follower.look()
    assert uploads.when_done().wait(20)
    assert not uploads.pending_runs
    assert points(store, "val/acc") == {0: 1, 1: 1, 2: 1}


def test_a_line_that_is_being_written_is_read_once_it_is_whole(
    follower: RunFollower, store: MLflowStore, uploads: UploadQueue
) -> None:
    Process(follower.folder).train(0, 1)
    metrics = follower.folder / "metrics.jsonl"
    whole = metrics.read_bytes()
    metrics.write_bytes(whole + b'{"epoch": 1, "time"')
    look(follower, uploads)
    assert points(store, "val/acc") == {0: 1}
    metrics.write_bytes(whole + whole.replace(b'"epoch": 0', b'"epoch": 1'))
    look(follower, uploads)
    assert points(store, "val/acc") == {0: 1, 1: 1}
