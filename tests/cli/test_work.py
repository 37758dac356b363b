"""`kdsweep work FOLDER N` and `kdsweep status FOLDER`."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import chdir
from functools import partial
from pathlib import Path

import pytest
from commands import UNDRAWN, Command
from processes import SMALL
from typer.testing import CliRunner
from worker_in_process import WorkerInProcess, use

from kdsweep.cli import app
from kdsweep.common.files import read_json
from kdsweep.work import local
from kdsweep.work.attempt import PARKED, attempt_path


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """The command handles SIGTERM; this process has it as before again."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def run(*words: str) -> tuple[int, str]:
    with chdir(os.getcwd()):  # it changes to the folder where the sweep was started
        ended = CliRunner().invoke(app, [*words])
    return ended.exit_code, ended.output


@pytest.fixture
def interrupted(command: Command, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a sweep of two cohorts whose controller was interrupted at once."""

    def interrupt(number: int) -> str:
        raise KeyboardInterrupt

    use(monkeypatch, partial(WorkerInProcess, instead=interrupt))
    outcome = command(
        "loss=ce", "seed=0,1", "hydra.launcher.workers=2", "hydra.sweep.dir=multirun/it"
    )
    assert outcome.code == 130, outcome.err
    return outcome.sweep


@pytest.mark.ci
def test_units_are_trained_by_hand_and_the_sweep_is_resumed(
    interrupted: Path, command: Command
) -> None:
    code, text = run("work", str(interrupted), "1")
    assert code == 0
    assert text.endswith("work unit 1: done\n")  # after the lines of its training
    code, text = run("status", str(interrupted))
    assert code == 0
    assert "runs   1 queued, 1 done\nunits  1 queued, 1 done\n" in text
    assert "sweep  over" in text  # its controller has ended in order
    outcome = command("loss=ce", "seed=0,1", "hydra.sweep.dir=multirun/it", "resume=true")
    assert outcome.code == 0, outcome.err
    assert [row["status"] for row in outcome.rows] == ["FINISHED", "FINISHED"]
    assert run("work", str(interrupted), "1") == (0, "work unit 1: done\n")


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        ("7", "N must be a work unit from 0 to 1, got 7"),
        ("x", "N must be the number of a work unit, got x"),
    ],
)
def test_what_is_no_unit_is_refused(interrupted: Path, number: str, sentence: str) -> None:
    assert run("work", str(interrupted), number) == (1, f"{sentence}\n")


def test_other_folders_are_refused(tmp_path: Path) -> None:
    code, text = run("work", str(tmp_path), "0")
    assert code == 1
    assert text.startswith("FOLDER must be the folder of a sweep with work units")
    assert run("status", str(tmp_path)) == (
        1,
        f"FOLDER must be the folder of a sweep, got {tmp_path}\n",
    )


def test_a_host_that_does_not_see_where_the_sweep_was_started_is_refused(interrupted: Path) -> None:
    path = interrupted / "work" / "0.json"
    path.write_text(json.dumps(read_json(path) | {"cwd": "/nowhere/at/all"}))
    assert run("work", str(interrupted), "0") == (
        1,
        "/nowhere/at/all, where the sweep was started, must be on a file system that all hosts"
        " share, but it cannot be opened here (No such file or directory)\n",
    )


def test_what_goes_wrong_is_one_sentence(interrupted: Path) -> None:
    path = interrupted / "work" / "0.json"
    content = read_json(path)
    content["roots"][0]["config"]["dataset"]["val_fraction"] = 0.3
    path.write_text(json.dumps(content))
    code, text = run("work", str(interrupted), "0")
    assert code == 1
    assert text.startswith("work unit 0 must be trained where ce seed=0 is the run")
    assert len(text.splitlines()) == 1


@pytest.mark.slow
def test_a_signal_parks_a_unit_and_the_same_command_resumes_it(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupt(number: int) -> str:
        raise KeyboardInterrupt

    use(monkeypatch, partial(WorkerInProcess, instead=interrupt))
    words = ["loss=ce", "seed=0,1", *SMALL, *UNDRAWN, "trainer.epochs=2000"]
    sweep = command(*words, "hydra.launcher.workers=2", tiny=False).sweep
    program = [sys.executable, "-m", "kdsweep", "work", str(sweep), "0"]
    top = str(Path(local.__file__).parents[2])
    process = subprocess.Popen(program, env={**os.environ, "PYTHONPATH": top})
    metrics = sweep / "0" / "metrics.jsonl"
    while process.poll() is None and not (metrics.is_file() and metrics.stat().st_size):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 75
    assert read_json(attempt_path(sweep, 0, 1))["state"] == PARKED
    assert read_json(sweep / "0" / "result.json")["status"] == "KILLED"
    assert list((sweep / "0" / "checkpoint").glob("epoch-*.safetensors"))
