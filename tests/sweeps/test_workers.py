"""A sweep that workers train is the one that this process would train: bits, table, MLflow."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path
from typing import ClassVar

import pytest
from commands import UNDRAWN, Command, run_train
from processes import (
    SMALL,
    assert_mlflow_is_tidy,
    finish,
    mlflow_runs,
    recorded,
    results,
    start,
    table,
)
from worker_in_process import WorkerInProcess, use

from kdsweep.common.files import read_json
from kdsweep.config.limits import MOST

TWO = "hydra.launcher.workers=2"
KINDS = {
    "grid": ["T=1,4", "seed=0,1"],
    "duplicates": ["loss=ce,kl", "T=1,4"],
    "stages": ["stages=hints", "stages.hints.epochs=2", "student=cnn", "T=1,4", "seed=0,1"],
    "peers": ["teacher=peers", "student=cnn", "T=1,4"],
    "online": ["teacher.online=true", "student=cnn", "seed=0,1"],
    "assistant": ["teacher=assistant", "teacher.teacher.trainer.epochs=1", "T=1,4"],
}


def swept(folder: Path, database: Path, *words: str) -> Path:
    """Run a sweep in a new folder with a store of its own; returns the folder."""
    folder.mkdir()
    shutil.copy(database, folder / "mlflow.db")
    small = [
        word
        for word in SMALL
        if not (word.startswith("teacher.model") and "teacher=" in str(words))
    ]
    with chdir(folder):
        assert run_train(["-m", *small, *UNDRAWN, "trainer.epochs=3", *words]) == 0
    return folder


@pytest.mark.parametrize(
    "kind",
    ["grid", *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS if kind != "grid")],
)
def test_units_leave_what_one_process_leaves(
    kind: str, tmp_path: Path, fresh_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = swept(tmp_path / "alone", fresh_database, *KINDS[kind])
    use(monkeypatch, WorkerInProcess)
    units = swept(tmp_path / "units", fresh_database, *KINDS[kind], TWO)
    assert results(units) == results(alone)
    assert table(units) == table(alone)
    assert mlflow_runs(units) == mlflow_runs(alone)


class Closed(WorkerInProcess):
    """An executor that notes what there is of its sweep when it is made, and how it is closed."""

    notes: ClassVar[list[object]] = []

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.notes.append((folder / "sweep.json").exists())

    def close(self, *, leave: bool = False) -> None:
        super().close(leave=leave)
        self.notes.append("left" if leave else "ended")


@pytest.mark.ci
def test_workers_are_there_before_a_sweep_is_checked_and_closed_if_it_is_refused(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a queue are left: an earlier command may have submitted their jobs."""
    monkeypatch.setattr(Closed, "notes", [])
    use(monkeypatch, Closed)
    outcome = command("loss=fitnet", "loss.fitnet.pairs=[[layer9,stage1]]", TWO)
    assert outcome.code == 1
    assert "layer9" in outcome.err
    assert Closed.notes == [False, "left"]
    assert not list(outcome.folder.glob("multirun/**/*")), "a refused sweep has left something"
    assert command("loss=ce", "dry_run=true", TWO).code == 0
    assert Closed.notes == [False, "left"], "a dry run has workers"


@pytest.mark.ci
def test_a_sweep_that_has_ended_trains_nothing_again(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    early = use(monkeypatch, WorkerInProcess)
    words = ["T=1,4", "seed=0,1", "hydra.sweep.dir=multirun/one", TWO]
    first = command(*words)
    attempts = sorted((first.sweep / "work").glob("*.attempt-*.json"))
    assert len(attempts) == 2 + (len(list((first.sweep / "work").glob("?.json"))) - 2)
    again = command(*words, "resume=true")
    assert again.code == 0, again.err
    assert early == [2, 0], "processes have been started that have nothing to train"
    assert sorted((again.sweep / "work").glob("*.attempt-*.json")) == attempts
    assert [row["weights_sha256"] for row in again.rows] == [
        row["weights_sha256"] for row in first.rows
    ]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_failed_teacher_takes_only_what_needs_it(
    command: Command, own_teachers: str, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    use(monkeypatch, WorkerInProcess)
    outcome = command(
        *("teacher.optimizer.lr=1e9,0.01", "loss=ce,kl", "T=1,4", "teacher.trainer.epochs=2"),
        *(own_teachers, f"hydra.launcher.workers={workers}", "tracking.report=true"),
        tracking=True,
    )
    assert outcome.code == 1
    assert "Traceback" not in outcome.err
    states = {row["name"]: row["status"] for row in outcome.rows if row["same_as"] is None}
    failed = {name for name, status in states.items() if status == "FAILED"}
    assert failed == {name for name in states if name.startswith("kl") and "lr=1000000000" in name}
    assert len(failed) == 2
    reasons = {row["reason"] for row in outcome.rows if row["status"] == "FAILED"}
    assert all(str(reason).startswith("teacher cnn: ") for reason in reasons)
    assert (outcome.sweep / "report.html").is_file()
    runs = mlflow_runs(outcome.folder)
    assert "RUNNING" not in {status for _, status, *_ in runs}


@pytest.mark.ci
@pytest.mark.parametrize(
    "value", ["0", *(pytest.param(value, marks=pytest.mark.slow) for value in ("two", "1.5"))]
)
def test_other_numbers_of_workers_are_refused_before_training(command: Command, value: str) -> None:
    outcome = command("T=1,4", f"hydra.launcher.workers={value}")
    assert outcome.code == 1
    assert (
        f"hydra.launcher.workers must be auto or from 1 to {MOST['workers']}, got {value}"
        in outcome.err
    )
    assert not list(outcome.folder.glob("multirun/**/sweep.json"))


@pytest.mark.ci
def test_two_processes_leave_what_one_leaves(tmp_path: Path, fresh_database: Path) -> None:
    words = KINDS["grid"]
    one = swept(tmp_path / "one", fresh_database, *words)
    two = swept(tmp_path / "two", fresh_database, *words, TWO)
    assert results(two) == results(one)
    assert table(two) == table(one)
    assert mlflow_runs(two) == mlflow_runs(one)
    assert len({_owner(path) for path in two.glob("multirun/*/*/work/*.attempt-1.json")}) == 2


@pytest.mark.slow
def test_the_sweep_of_the_readme_is_the_same(tmp_path: Path) -> None:
    """One cohort, which two workers may train in parts, as the times of its steps decide."""
    words = ["-m", "loss=kl", "T=1,4,16", "alpha=0.1,0.5,0.9", "tracking.report=false"]
    finish(tmp_path / "one", words)
    text = finish(tmp_path / "two", [*words, TWO])
    assert "1 cohort for 2 workers: " in text
    assert "by measured steps" in text
    assert results(tmp_path / "two") == results(tmp_path / "one")
    assert table(tmp_path / "two") == table(tmp_path / "one")
    assert mlflow_runs(tmp_path / "two") == mlflow_runs(tmp_path / "one")


def _owner(path: Path) -> int:
    return int(read_json(path)["pid"])


LONG = [
    *["-m", "T=1,4", "seed=0,1,2", *SMALL, *UNDRAWN, "trainer.epochs=40", TWO, "resume=true"],
    *["tracking.checkpoint_seconds=0", "teacher.trainer.epochs=4"],
]


def workers_of(folder: Path) -> list[int]:
    """The processes that train units of a sweep now, by their attempts."""
    notes = [
        read_json(path)
        for path in folder.glob("multirun/*/*/work/*.attempt-*.json")
        if path.stat().st_size
    ]
    pids = {int(note["pid"]) for note in notes if note["state"] == "running"}
    return sorted(pid for pid in pids if Path(f"/proc/{pid}").exists())


def wait_for_end(pids: Sequence[int]) -> None:
    end = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < end, "workers continue without a controller"
        time.sleep(0.05)


def kill_some(process: "subprocess.Popen[str]", folder: Path, epochs: int, whom: str) -> None:
    """Kill the controller or one of its workers, once so many epochs are recorded."""
    while process.poll() is None and recorded(folder) < epochs:
        time.sleep(0.01)
    time.sleep(random.random() * 0.3)
    running = workers_of(folder)
    if whom == "controller":
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        wait_for_end(running)
    elif running:
        os.kill(random.choice(running), signal.SIGKILL)


@pytest.mark.slow
def test_killed_anywhere_it_ends_with_the_same_bits(tmp_path: Path) -> None:
    """Ten kills with -9, of a worker or of the controller: nothing is lost, nothing twice."""
    random.seed(0)
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    finish(calm, LONG)
    total = recorded(calm)
    process = start(killed, LONG)
    for number in range(10):
        whom = "controller" if number % 2 else "worker"
        kill_some(process, killed, int(total * (number + 0.5) / 11), whom)
        if whom == "controller":
            process = start(killed, LONG)
    text, _ = process.communicate()
    assert process.returncode == 0, text
    assert results(killed) == results(calm)
    assert table(killed) == table(calm)
    assert mlflow_runs(killed) == mlflow_runs(calm)
    assert_mlflow_is_tidy(killed, len(mlflow_runs(calm)))
