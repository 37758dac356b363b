"""`kdsweep ui`: MLflow's UI on the store of the latest sweep."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest
from commands import Command
from typer.testing import CliRunner

from kdsweep.cli import app
from kdsweep.common.files import read_json, write_json_atomic


@pytest.mark.ci
def test_a_sweep_that_is_in_no_store(command: Command) -> None:
    assert CliRunner().invoke(app, ["ui"]).exit_code == 1, "there is no sweep"
    sweep = command("loss=ce").sweep
    refused = CliRunner().invoke(app, ["ui", str(sweep)])
    assert refused.exit_code == 1
    assert refused.output == f"SWEEP must be the folder of a sweep in MLflow, got {sweep}\n"


@pytest.mark.ci
def test_a_server_has_the_page_itself(command: Command) -> None:
    sweep = command("loss=ce").sweep
    note = {"tracking_uri": "http://server:5000", "experiment_id": "7", "parent_run_id": "f00d"}
    write_json_atomic(sweep / "sweep.json", read_json(sweep / "sweep.json") | note)
    for words in ([], [str(sweep.relative_to(Path("multirun").absolute()))], ["f00d"]):
        shown = CliRunner().invoke(app, ["ui", *words])
        assert shown.exit_code == 0, shown.output
        page = shown.output.partition(": ")[2]
        assert page.startswith("http://server:5000/#/experiments/7/runs?")
        assert "f00d" in page


@pytest.mark.server
def test_the_ui_runs_until_ctrl_c(command: Command) -> None:
    outcome = command("T=1,4", tracking=True)
    kdsweep = str(Path(sys.executable).with_name("kdsweep"))
    with subprocess.Popen(
        [kdsweep, "ui"],
        cwd=outcome.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            line = next(line for line in process.stdout if "/#/experiments/" in line)
            address = line.partition(": ")[2].partition("/#/")[0]
            with urlopen(address, timeout=60) as page:
                assert b"mlflow" in page.read().lower()
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(60) == 0
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
