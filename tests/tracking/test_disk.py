"""A full disk is one sentence, whoever reports it and wherever it is met."""

import errno
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from commands import Command
from mlflow.exceptions import MlflowException
from outcomes import runs
from typer.testing import CliRunner

from kdsweep.cli import app
from kdsweep.common import files
from kdsweep.data.types import DataError
from kdsweep.errors import UserError
from kdsweep.execution import cohort as run_module
from kdsweep.search import lease
from kdsweep.sweeps import mlflow_sync
from kdsweep.tracking import run_dir
from kdsweep.tracking.disk import (
    DiskFull,
    check_space,
    disk_full,
    full_folder,
    how_to_resume,
    is_full,
    report_disk_full,
)
from kdsweep.tracking.mlflow import run_of_file
from kdsweep.tracking.results_table import collect


def full(path: object = "x") -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def wrapped() -> Exception:
    try:
        try:
            raise sqlite3.OperationalError("database or disk is full")
        except sqlite3.OperationalError as error:
            raise RuntimeError("the study did not take it") from error
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (full(), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (wrapped(), True),
        (RuntimeError("I/O error: No space left on device (os error 28)"), True),
        (OSError(errno.EACCES, "Permission denied"), False),
        (ValueError("full of errors"), False),
        (None, False),
    ],
)
def test_it_is_recognised(error: BaseException | None, expected: bool) -> None:
    assert is_full(error) is expected


def test_the_message_names_what_is_full_and_what_is_needed(tmp_path: Path) -> None:
    message = str(disk_full(tmp_path / "not" / "there", how_to_resume(12_345_678)))
    assert f"the disk of {tmp_path}/not/there is full" in message
    assert "takes about 12 MB" in message
    assert "resume=true" in message
    with pytest.raises(DiskFull, match=r"is full"), report_disk_full(tmp_path):
        raise wrapped()
    with pytest.raises(ValueError, match="else"), report_disk_full(tmp_path):
        raise ValueError("else")


def test_the_message_about_another_disk_stays(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match=r"^tracking\.uri must be a store"),
        report_disk_full(tmp_path),
    ):
        raise UserError("tracking.uri must be a store, got x: disk is full") from wrapped()


def test_the_disk_is_that_of_the_file_that_was_not_written(tmp_path: Path) -> None:
    copied = OSError(errno.ENOSPC, "No space left on device", "here", None, str(tmp_path / "there"))
    assert full_folder(copied, Path("mine")) == tmp_path
    outer = RuntimeError("the report was not written")
    outer.__cause__ = full(tmp_path / "report.html")
    assert full_folder(outer, Path("mine")) == tmp_path
    assert full_folder(wrapped(), tmp_path) is None, "this one has room"


def test_a_file_that_is_written_in_one_step_names_itself(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"report\.md"), files.atomic_write(tmp_path / "report.md"):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_full_shared_memory_is_no_full_disk() -> None:
    def read() -> None:
        try:
            raise DataError("workers must be 0, got: No space left on device (28)") from full()
        except DataError as error:
            raise UserError(str(error)) from error

    with pytest.raises(UserError) as ended:
        read()
    assert not is_full(ended.value)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (full("/other/disk/results.csv"), "the disk of /other/disk is full ("),
        (wrapped(), "a disk is full (the error does not say which)"),
        (MlflowException("database or disk is full"), "the MLflow store does not work: "),
    ],
)
def test_a_command_names_the_full_disk_and_nothing_about_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, sentence: str
) -> None:
    def fail(*arguments: object) -> str:
        raise error

    monkeypatch.setattr(mlflow_sync, "sync_folder", fail)
    outcome = CliRunner().invoke(app, ["sync", str(tmp_path)])
    assert outcome.exit_code == 1
    assert sentence in outcome.output
    assert "resume=true" not in outcome.output
    assert "dry_run" not in outcome.output


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ConnectionResetError(104, "Connection reset by peer"), "cannot continue: ConnectionReset"),
        (
            PermissionError(13, "Permission denied", "away/0"),
            "cannot continue in away/0: [Errno",
        ),
    ],
    ids=["no file", "a file"],
)
def test_a_folder_is_blamed_only_where_the_error_names_it(
    command: Command, monkeypatch: pytest.MonkeyPatch, error: OSError, sentence: str
) -> None:
    def fit(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(run_module, "fit", fit)
    ended = command("loss=ce", "trainer.epochs=1")
    assert ended.code == 1
    assert sentence in ended.err
    assert ("cannot continue in" in ended.err) == (error.filename is not None)
    assert "Traceback" not in ended.err


def test_a_folder_without_room_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_space(tmp_path)
    assert not list(tmp_path.iterdir())

    def write(self: Path, content: bytes) -> int:
        raise full(self)

    monkeypatch.setattr(Path, "write_bytes", write)
    with pytest.raises(UserError, match=r"hydra\.sweep\.dir must be on a disk with room"):
        check_space(tmp_path)


def fail_after(monkeypatch: pytest.MonkeyPatch, number: int, where: Any, name: str) -> None:
    """Have the disk be full after a number of calls of a function."""
    real, calls = getattr(where, name), []

    def call(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) > number:
            raise full(arguments[0])
        return real(*arguments, **named)

    monkeypatch.setattr(where, name, call)


@pytest.mark.slow
def test_a_sweep_ends_in_a_message_with_its_runs_closed_and_resumes(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = ["T=1,4", "trainer.epochs=3", "tracking.checkpoint_seconds=0"]
    with monkeypatch.context() as patch:
        fail_after(patch, 4, run_dir, "append_row")
        ended = command(*words, tracking=True)
    assert ended.code == 1
    assert "Traceback" not in ended.err
    assert f"the disk of {ended.sweep.relative_to(tmp_path)}/0 is full" in ended.err
    found = runs(ended)
    assert {run.info.status for run in found["run"]} == {"FAILED"}
    assert {run.data.tags["kdsweep.reason"] for run in found["run"]} == {"the disk is full"}
    assert {run.info.status for run in found["sweep"]} == {"FAILED"}
    resumed = command(*words, "resume=true", tracking=True)
    assert resumed.code == 0, resumed.err
    assert command(*words, "hydra.sweep.dir=whole").code == 0
    sums = [row["weights_sha256"] for row in collect(tmp_path / "whole")]
    assert [row["weights_sha256"] for row in resumed.rows] == sums
    for run in runs(resumed)["run"]:
        assert "kdsweep.reason" not in run.data.tags
        assert run.info.status == "FINISHED"


def test_results_that_cannot_be_written_end_in_a_message(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kdsweep.sweeps import finalize

    fail_after(monkeypatch, 0, finalize, "write_csv")
    ended = command("loss=ce")
    assert ended.code == 1
    assert " is full (" in ended.err
    assert "Traceback" not in ended.err
    assert ended.rows[0]["status"] == "FINISHED"


@pytest.mark.slow
def test_a_study_that_cannot_be_written_ends_in_a_message(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def claim(*arguments: object) -> list[int]:
        raise wrapped()

    monkeypatch.setattr(lease, "claim", claim)
    ended = command("search=bayes", "hydra.sweeper.n_trials=2", "tracking.plots=none")
    assert ended.code == 1
    assert " is full (" in ended.err
    assert "Traceback" not in ended.err


def test_a_run_whose_end_cannot_be_written_is_closed_in_mlflow(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kdsweep.tracking import recorder

    fail_after(monkeypatch, 0, run_dir, "append_row")
    real = recorder.write_json_atomic

    def write(path: Path, content: object) -> None:
        if path.name == "result.json":
            raise full(path)
        real(path, content)

    monkeypatch.setattr(recorder, "write_json_atomic", write)

    def no_room(folder: Path, *arguments: object) -> None:
        raise full(folder)

    monkeypatch.setattr(run_of_file, "update_file", no_room)  # the run's id is not kept
    ended = command("loss=ce", tracking=True)
    assert ended.code == 1
    assert {run.info.status for run in runs(ended)["run"]} == {"FAILED"}
