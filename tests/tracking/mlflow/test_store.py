import math
from pathlib import Path

import mlflow
import pytest

from kdsweep.tracking.mlflow import store as module
from kdsweep.tracking.mlflow.store import MLflowStore
from kdsweep.tracking.run_dir import make_row

pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"
)


def new_run(store: MLflowStore, **changes: object) -> str:
    arguments: dict = {"name": "kl T=4", "parent_id": None, "tags": {}, "params": {}}
    return store.create_run(**arguments | changes)


def test_opening_twice_gives_the_same_experiment(store: MLflowStore, tmp_path: Path) -> None:
    again = MLflowStore.open("sqlite:///mlflow.db", "kdsweep", cwd=tmp_path)
    assert again.experiment_id == store.experiment_id


def test_an_experiment_made_by_a_faster_process_is_taken(
    store: MLflowStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = mlflow.MlflowClient.get_experiment_by_name
    answers = iter([lambda *_: None, real])
    monkeypatch.setattr(
        mlflow.MlflowClient, "get_experiment_by_name", lambda *args: next(answers)(*args)
    )
    again = MLflowStore.open("sqlite:///mlflow.db", "kdsweep", cwd=tmp_path)
    assert again.experiment_id == store.experiment_id


def test_artifacts_lie_in_the_given_folder(store: MLflowStore, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    run_id = new_run(store)
    store.log_artifact(run_id, tmp_path / "a.txt", "config")
    assert (tmp_path / "mlartifacts" / run_id / "artifacts/config/a.txt").read_text() == "hello"


def test_an_artifact_is_replaced_and_its_other_names_keep_their_content(
    store: MLflowStore, tmp_path: Path
) -> None:
    run_id, file = new_run(store), tmp_path / "a.txt"
    folder = tmp_path / "mlartifacts" / run_id / "artifacts"
    file.write_text("first")
    store.log_artifact(run_id, file)
    (tmp_path / "of_model.txt").hardlink_to(folder / "a.txt")
    file.write_text("second")
    store.log_artifact(run_id, file)
    assert (folder / "a.txt").read_text() == "second"
    assert (tmp_path / "of_model.txt").read_text() == "first"
    assert [path.name for path in folder.iterdir()] == ["a.txt"]


def test_an_experiment_that_keeps_its_files_elsewhere_is_mentioned(
    store: MLflowStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    MLflowStore.open("sqlite:///mlflow.db", "kdsweep", "elsewhere", cwd=tmp_path)
    assert "mlartifacts" in caplog.text
    assert "elsewhere" in caplog.text


def test_the_global_tracking_address_is_left_alone(
    tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    before = mlflow.get_tracking_uri()
    new_run(MLflowStore.open("sqlite:///mlflow.db", "kdsweep", cwd=tmp_path))
    assert mlflow.get_tracking_uri() == before
    assert mlflow.active_run() is None


def test_a_child_is_nested_under_its_parent_and_tagged(store: MLflowStore) -> None:
    parent = new_run(store, name="sweep", tags={"kdsweep.role": "sweep"})
    child = new_run(store, parent_id=parent, tags={"kdsweep.role": "run"})
    new_run(store)
    found = store.client.search_runs(
        [store.experiment_id], f"tags.`mlflow.parentRunId` = '{parent}'"
    )
    assert [run.info.run_id for run in found] == [child]
    tags = found[0].data.tags
    assert tags["kdsweep.role"] == "run"
    assert tags["mlflow.runName"] == "kl T=4"
    assert tags["mlflow.user"]
    assert tags["mlflow.source.name"]


def test_params_read_as_on_the_command_line(store: MLflowStore) -> None:
    params = {"T": 4.0, "alpha": None, "resume": True, "loss": "kl", "mean": [0.5, 0.1]}
    run_id = new_run(store, params=params)
    assert store.client.get_run(run_id).data.params == {
        "T": "4.0",
        "alpha": "null",
        "resume": "true",
        "loss": "kl",
        "mean": "[0.5, 0.1]",
    }


def test_long_and_many_params_are_taken_without_a_warning(
    store: MLflowStore, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = new_run(
        store,
        params={f"p{i}": i for i in range(150)} | {"long": "x" * 9000},
        tags={"t": "y" * 9000},
    )
    run = store.client.get_run(run_id)
    assert len(run.data.params) == 151
    assert len(run.data.params["long"]) == 6000
    assert run.data.params["long"].endswith("x…")
    assert len(run.data.tags["t"]) == 8000
    assert not caplog.records


def test_what_is_not_finite_is_logged_as_nan(store: MLflowStore) -> None:
    run_id = new_run(store)
    store.log(
        run_id,
        rows=[
            {"epoch": 0, "time": 1, "metrics": {"a": math.inf, "b": None, "c": math.nan, "d": 1.5}}
        ],
    )
    metrics = store.client.get_run(run_id).data.metrics
    assert [math.isnan(metrics[key]) for key in "abcd"] == [True, True, True, False]


def test_only_what_is_missing_is_logged(store: MLflowStore) -> None:
    run_id = new_run(store)
    first, third = {"val/acc": 0.1, "val/loss": 2.0}, {"val/acc": 0.3}
    store.log(run_id, rows=[make_row(0, 1, first), make_row(2, 3, third)])
    rows = [make_row(e, 9, {"val/acc": e / 5, "val/loss": 1.0}) for e in range(3)]
    assert store.log_missing(run_id, rows) == 2
    assert store.log_missing(run_id, rows) == 0
    history = store.client.get_metric_history(run_id, "val/acc")
    assert sorted((entry.step, entry.value) for entry in history) == [(0, 0.1), (1, 0.2), (2, 0.3)]
    assert len(store.client.get_metric_history(run_id, "val/loss")) == 3


@pytest.mark.ci
def test_more_missing_metrics_than_mlflow_takes_at_once(store: MLflowStore) -> None:
    run_id = new_run(store)
    rows = [make_row(epoch, 1, {"a": 0.5, "b": 0.5, "c": 0.5}) for epoch in range(400)]
    assert store.log_missing(run_id, rows) == 400
    assert len(store.logged(run_id)) == 1200


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_the_end_state_is_kept_and_a_run_can_be_reopened(store: MLflowStore, status: str) -> None:
    run_id = new_run(store)
    store.finish(run_id, status)
    assert store.client.get_run(run_id).info.status == status
    store.reopen(run_id)
    assert store.client.get_run(run_id).info.status == "RUNNING"


def test_a_deleted_or_unknown_run_is_not_there(store: MLflowStore) -> None:
    run_id = new_run(store)
    assert store.has_run(run_id)
    store.client.delete_run(run_id)
    assert not store.has_run(run_id)
    assert not store.has_run("0" * 32)


def test_the_data_set_is_an_input_of_the_run_once(store: MLflowStore) -> None:
    run_id = new_run(store)
    profile = {"train": 862}
    dataset = {"name": "digits", "digest": "ab" * 32, "context": "training", "profile": profile}
    for _ in range(2):
        store.log_dataset(run_id, dataset)
    inputs = store.client.get_run(run_id).inputs.dataset_inputs
    assert [(i.dataset.name, i.dataset.digest) for i in inputs] == [("digits", "ab" * 18)]
    assert inputs[0].dataset.profile == '{"train": 862}'
    assert [(tag.key, tag.value) for tag in inputs[0].tags] == [("mlflow.data.context", "training")]


def test_tags_are_added(store: MLflowStore) -> None:
    run_id = new_run(store, tags={"a": "1"})
    store.set_tags(run_id, {"a": "2", "b": "3"})
    tags = store.client.get_run(run_id).data.tags
    assert (tags["a"], tags["b"]) == ("2", "3")


def test_a_store_for_reading_creates_nothing(store: MLflowStore, tmp_path: Path) -> None:
    again = MLflowStore.existing("sqlite:///mlflow.db", "kdsweep", cwd=tmp_path)
    assert again.experiment_id == store.experiment_id
    with pytest.raises(ValueError, match=r"--uri must be an MLflow store, got sqlite:///other.db"):
        MLflowStore.existing("sqlite:///other.db", "kdsweep", cwd=tmp_path)
    assert not (tmp_path / "other.db").exists()
    with pytest.raises(ValueError, match=r"--experiment must be one of .*kdsweep.*, got no"):
        MLflowStore.existing("sqlite:///mlflow.db", "no", cwd=tmp_path)
    assert store.client.get_experiment_by_name("no") is None


def test_a_search_returns_the_runs_of_all_pages(
    store: MLflowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [new_run(store, tags={"a": str(n)}, start_time_ms=n + 1) for n in range(5)]
    monkeypatch.setattr(module, "PAGE", 2)
    assert [run.info.run_id for run in store.search()] == runs
    assert [run.info.run_id for run in store.search("tags.a = '3'")] == [runs[3]]


def test_everything_of_a_run_is_one_request(
    store: MLflowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = new_run(store)
    batches: list[dict[str, object]] = []
    log_batch = store.client.log_batch

    def counted(run_id: str, **batch: object) -> None:
        batches.append(batch)
        log_batch(run_id, **batch)  # type: ignore[arg-type]

    monkeypatch.setattr(store.client, "log_batch", counted)
    rows = [make_row(epoch, 1, {"epochs": epoch + 1.0}) for epoch in range(3)]
    store.log(run_id, params={"T": 4.0}, rows=rows, tags={"a": "9"})
    data = store.client.get_run(run_id).data
    assert len(batches) == 1
    assert (data.metrics["epochs"], data.params["T"], data.tags["a"]) == (3.0, "4.0", "9")


def test_files_of_a_new_run_go_where_the_client_finds_them_without_reading_the_run(
    store: MLflowStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("hello")
    run_id = new_run(store)
    with monkeypatch.context() as patch:
        patch.setattr(store.client, "get_run", None)
        patch.setattr(store.client, "log_artifact", None)
        store.log_artifact(run_id, tmp_path / "a.txt", "config")
    assert [entry.path for entry in store.client.list_artifacts(run_id, "config")] == [
        "config/a.txt"
    ]
    store.finish(run_id, "FINISHED")
    store.log_artifact(run_id, tmp_path / "a.txt")  # after its end, through the client
    assert "a.txt" in {entry.path for entry in store.client.list_artifacts(run_id)}


def test_only_tags_that_a_run_has_are_deleted(store: MLflowStore) -> None:
    run_id = new_run(store, tags={"a": "1", "b": "2"})
    store.drop_tags(run_id, ["a", "c"])
    tags = store.client.get_run(run_id).data.tags
    assert "a" not in tags
    assert tags["b"] == "2"


def test_an_empty_file_is_no_store_to_read_and_stays_empty(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    for read in (
        lambda: MLflowStore.existing("sqlite:///empty.db", "kdsweep", cwd=tmp_path),
        lambda: MLflowStore.refuse_absent("sqlite:///empty.db", cwd=tmp_path),
    ):
        with pytest.raises(ValueError, match=r"--uri must be an MLflow store, got .*not there"):
            read()
    assert [path.name for path in tmp_path.iterdir()] == ["empty.db"]
    assert not (tmp_path / "empty.db").stat().st_size
