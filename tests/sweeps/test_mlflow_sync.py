"""`kdsweep sync`, `report`, `compare` and `leaderboard`: which store, and what is not in order."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from kdsweep.cli import app
from kdsweep.common.files import write_json_atomic
from kdsweep.common.processes import new_lease
from kdsweep.tracking import run_dir
from kdsweep.tracking.mlflow.store import MLflowStore
from kdsweep.tracking.recorder import Recorder, RunInfo
from kdsweep.tracking.result import RunResult


def run_in(folder: Path, uri: str = "null", experiment: str = "kdsweep") -> Path:
    """The folder of a run that has ended and is in no store, by default trained without MLflow."""
    recorder = Recorder(folder)
    config = f"tracking: {{uri: '{uri}', experiment: {experiment}, artifacts: mlartifacts}}\n"
    config = config.replace("'null'", "null")
    identity = {"name": "ce seed=0", "role": "run", "fingerprint": "f00d", "cell": "ce", "seed": 0}
    recorder.start(RunInfo(**identity, config_yaml=config, params={}, tags={}))
    for epoch in range(3):
        recorder.epoch(epoch, {"val/acc": epoch / 10})
    recorder.finish(RunResult(status="FINISHED", epochs=3))
    return folder


@pytest.fixture
def home(tmp_path: Path, fresh_database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlflow.db").write_bytes(fresh_database.read_bytes())
    return tmp_path


def call(*words: object) -> tuple[int, str]:
    found = CliRunner().invoke(app, [str(word) for word in words])
    return found.exit_code, found.output


def test_damaged_rows_are_named(home: Path) -> None:
    run = run_in(home / "0")
    lines = (run / run_dir.METRICS).read_text().splitlines()
    lines[1] = lines[1][:20]
    (run / run_dir.METRICS).write_text("\n".join(lines) + "\n")
    code, message = call("sync", run, "--uri", "sqlite:///mlflow.db")
    assert code == 0
    assert "uploaded 2 rows" in message
    assert f"{run}/metrics.jsonl has damaged lines, which could not be uploaded: 2" in message


def test_the_runs_of_a_sweep_that_has_died_are_closed(home: Path) -> None:
    run = run_in(home / "sweep" / "0")
    (run / run_dir.RESULT).unlink()  # it was training when the power went
    dead = {**new_lease(), "boot": "of yesterday", "beat": 0.0, "ended": False}
    note = {"name": "T=1,4", "created": 0.0, "role": "sweep", "nested": True, **dead}
    write_json_atomic(home / "sweep" / "sweep.json", note)
    code, printed = call("sync", home / "sweep", "--uri", "sqlite:///mlflow.db")
    assert code == 0, printed
    found = MLflowStore.existing("sqlite:///mlflow.db", "kdsweep").search()
    assert [run.info.status for run in found] == ["KILLED", "KILLED"]


def test_a_teacher_that_was_trained_without_mlflow_goes_where_the_sweep_is(home: Path) -> None:
    run_in(home / "sweep" / "0", "sqlite:///mlflow.db", "mine")
    note = {"name": "T=1,4", "created": 0.0, "role": "sweep", "nested": True, "ended": True}
    write_json_atomic(home / "sweep" / "sweep.json", new_lease() | note)
    teacher = run_in(home / "teachers" / "cnn")
    code, printed = call("sync", teacher, home / "sweep")
    assert code == 0, printed
    folders = {
        Path(run.data.tags["kdsweep.folder"])
        for run in MLflowStore.existing("sqlite:///mlflow.db", "mine").search()
    }
    assert folders == {home / "sweep", home / "sweep" / "0", teacher}
    code, printed = call("sync", run_in(home / "teachers" / "other"))
    assert code == 1
    assert "was trained without one" in printed


def test_several_folders_are_uploaded_at_once(home: Path) -> None:
    code, message = call(
        "sync", run_in(home / "0"), run_in(home / "1"), "--uri", "sqlite:///mlflow.db"
    )
    assert code == 0
    assert message.count("uploaded 3 rows") == 2
    assert "new store" not in message


@pytest.mark.slow
def test_a_store_that_is_made_is_mentioned(home: Path) -> None:
    code, message = call("sync", run_in(home / "0"), "--uri", "sqlite:///other.db")
    assert code == 0
    assert "to a new store, sqlite:///other.db" in message


def test_a_folder_without_a_run_makes_no_store(home: Path) -> None:
    (home / "empty").mkdir()
    assert call("sync", home / "empty", "--uri", "sqlite:///other.db")[0] == 1
    assert not (home / "other.db").exists()


@pytest.mark.parametrize("command", ["report", "leaderboard", "compare"])
@pytest.mark.parametrize("is_there", [False, True])
def test_a_store_that_is_not_there_is_refused(home: Path, command: str, is_there: bool) -> None:
    first, second = run_in(home / "0"), run_in(home / "1")
    if is_there:
        (home / "other.db").touch()
    write_json_atomic(
        home / "sweep.json",
        {"name": "s", "created": 0.0, "parent_run_id": None, "tracking_uri": None},
    )
    words = {"report": ["."], "leaderboard": [], "compare": [first, second]}[command]
    code, message = call(command, *words, "--uri", "sqlite:///other.db")
    assert code == 1
    assert message.strip() == (
        "--uri must be an MLflow store, got sqlite:///other.db, which is not there"
    )
    assert (home / "other.db").exists() == is_there
    assert not is_there or not (home / "other.db").stat().st_size


def test_a_store_that_does_not_work_is_one_sentence(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.exceptions import MlflowException

    def away(*arguments: object, **named: object) -> None:
        raise MlflowException(
            "API request to http://x/api failed with exception: Connection refused"
        )

    monkeypatch.setattr(MLflowStore, "log", away)
    code, message = call("sync", run_in(home / "0"), "--uri", "sqlite:///mlflow.db")
    assert code == 1
    assert message.strip() == (
        "the MLflow store does not work: the connection is refused; try again later"
    )
