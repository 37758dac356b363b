"""An MLflow server that breaks down: training ends with its table, and sync uploads all of it."""

import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from mlflow import MlflowClient
from outages import FAULTS, Proxy, Trigger, proxied
from processes import SMALL, start
from servers import tracking_server
from uploads import sweep_of, uploaded

from kdsweep.common.files import read_json

pytestmark = [pytest.mark.slow, pytest.mark.server]

GRID = ["T=1,4", "seed=0,1", *SMALL, "trainer.epochs=6", "tracking.wait=3", "tracking.plots=none"]
SEARCH = [
    *["search=bayes", *SMALL, "trainer.epochs=4", "hydra.sweeper.n_trials=4"],
    *["hydra.sweeper.n_jobs=2", "search.finalists=1", "search.finalist_seeds=1"],
    *["tracking.wait=3", "tracking.plots=none"],
]
# More than tracking.wait, what the process needs to start, to train and to end, on a busy machine.
PATIENCE = 150.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    with tracking_server(folder, f"sqlite:///{folder}/mlflow.db") as address:
        yield address


@pytest.fixture
def proxy(server: str) -> Iterator[Proxy]:
    with proxied(server) as found:
        yield found


class Said(NamedTuple):
    code: int
    text: str
    seconds: float

    @property
    def sync(self) -> list[str] | None:
        """The command that it has named."""
        found = [part for part in self.text.split("`") if part.startswith("kdsweep sync ")]
        return shlex.split(found[-1])[2:] if found else None


def run(folder: Path, words: Sequence[str], proxy: Proxy, name: str) -> Said:
    process = start(
        folder, [*words, f"tracking.uri={proxy.address}", f"tracking.experiment={name}"]
    )
    began = time.monotonic()
    try:
        text, _ = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        text, _ = process.communicate()
        raise AssertionError(f"it hangs: {text}") from None
    return Said(process.returncode, text, time.monotonic() - began)


def cli(folder: Path, *words: str) -> Said:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", "from kdsweep.cli import app; app()", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return Said(done.returncode, done.stdout + done.stderr, time.monotonic() - began)


def assert_nothing_is_lost(folder: Path, server: str) -> None:
    """MLflow has every row of every run once, and no other run."""
    client = MlflowClient(server)
    ids = uploaded(folder, client)
    experiment = client.get_run(read_json(sweep_of(folder) / "sweep.json")["parent_run_id"])
    every = client.search_runs([experiment.info.experiment_id], max_results=1000)
    assert {run.info.run_id for run in every} == ids


def assert_ended_well(message: Said, folder: Path) -> None:
    assert message.code == 0, message.text
    assert "Traceback" not in message.text
    assert "urllib3" not in message.text
    assert "Retrying" not in message.text
    assert "results  " in message.text, "there is no table"
    assert (sweep_of(folder) / "results.csv").is_file()


def nth(number: int, wanted: str) -> Trigger:
    """The so-maniest request for something."""
    seen: list[bool] = []

    def trigger(method: str, path: str) -> bool:
        seen.append(wanted in path and method != "GET")
        return sum(seen) == number

    return trigger


AT = {
    "start": (1, "/runs/update"),  # the sweep's own run is there
    "middle": (3, "/runs/log-batch"),  # a short run is uploaded in one batch
    "end": (3, "model.safetensors"),  # after the teacher's and a student's
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("moment", AT)
def test_a_sweep_ends_with_its_table_and_sync_uploads_what_is_missing(
    tmp_path: Path, server: str, proxy: Proxy, moment: str, fault: str
) -> None:
    proxy.break_after(fault, nth(*AT[moment]))
    message = run(tmp_path, [*GRID, "teacher.store=teachers"], proxy, f"{moment}-{fault}")
    assert_ended_well(message, tmp_path)
    assert proxy.fault == fault, "it did not break down"
    proxy.recover()
    assert message.sync is not None, message.text
    uploaded = cli(tmp_path, "sync", *message.sync)
    assert uploaded.code == 0, uploaded.text
    assert_nothing_is_lost(tmp_path, server)
    again = cli(tmp_path, "sync", *message.sync)
    assert "uploaded 0 rows" in again.text


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "delay"])
def test_a_server_that_is_away_from_the_beginning_is_refused_in_a_sentence(
    tmp_path: Path, proxy: Proxy, fault: str
) -> None:
    proxy.break_down(fault)
    message = run(tmp_path, GRID, proxy, "never")
    assert message.code == 1
    first, *refusal = message.text.strip().splitlines()
    assert first == "Launching 4 jobs in lockstep"
    assert len(refusal) == 1, message.text
    assert "tracking.uri must be an MLflow store that works, got http://127.0.0.1" in refusal[0]
    assert message.seconds < 60


def test_an_outage_that_ends_in_time_leaves_nothing_to_do(
    tmp_path: Path, server: str, proxy: Proxy
) -> None:
    proxy.break_after("refused", nth(*AT["end"]))
    words = [*GRID, "teacher.store=teachers", "tracking.wait=60"]
    words.remove("tracking.wait=3")
    words += [f"tracking.uri={proxy.address}", "tracking.experiment=short"]
    process = start(tmp_path, words)
    while not list(tmp_path.glob("multirun/**/results.csv")):
        assert process.poll() is None
        time.sleep(0.1)
    time.sleep(2)
    proxy.recover()
    text, _ = process.communicate(timeout=PATIENCE)
    message = Said(process.returncode, text, 0.0)
    assert_ended_well(message, tmp_path)
    assert message.sync is None or "uploads the rest" not in text, text
    assert_nothing_is_lost(tmp_path, server)


@pytest.mark.parametrize("fault", ["refused", "hang", "reset"])
def test_a_search_is_uploaded_whole_too(
    tmp_path: Path, server: str, proxy: Proxy, fault: str
) -> None:
    proxy.break_after(fault, nth(2, "/runs/create"))
    message = run(tmp_path, [*SEARCH, "teacher.store=teachers"], proxy, f"search-{fault}")
    assert_ended_well(message, tmp_path)
    proxy.recover()
    assert message.sync is not None, message.text
    assert cli(tmp_path, "sync", *message.sync).code == 0
    assert_nothing_is_lost(tmp_path, server)


@pytest.mark.parametrize("fault", FAULTS)
def test_commands_fail_in_one_sentence_in_a_bounded_time(
    tmp_path: Path, server: str, proxy: Proxy, fault: str
) -> None:
    message = run(tmp_path, ["loss=ce", "seed=0,1", *SMALL], proxy, f"commands-{fault}")
    assert message.code == 0, message.text
    proxy.break_down(fault)
    place = ["--uri", proxy.address, "--experiment", f"commands-{fault}"]
    for words in (["sync", str(sweep_of(tmp_path))], ["leaderboard", *place]):
        answer = cli(tmp_path, *words)
        assert "Traceback" not in answer.text
        if fault != "delay":  # each of its many calls is answered, late
            assert answer.seconds < 90
            assert answer.code == 1
            assert len(answer.text.strip().splitlines()) == 1, answer.text
    report = cli(tmp_path, "report", str(sweep_of(tmp_path)))
    assert report.code == 0, "it is made from the folder"
    assert "Traceback" not in report.text
    if fault != "delay":
        assert "MLflow lacks the report" in report.text
