"""What the whole command line refuses: in sentences, with exit code 1, and nothing is made."""

import subprocess
import sys
from pathlib import Path

import hydra._internal.utils
import pytest
from commands import Command, Outcome
from typer.testing import CliRunner

from kdsweep.cli import app
from kdsweep.errors import UserError

FOUND = [
    "loss must be one of fitnet, ",
    "temprature must be a key of the config, got temprature=4; did you mean T?",
    "trainer.epochs must be an integer, got ten",
]


def lines(outcome: Outcome) -> list[str]:
    assert outcome.code == 1
    assert outcome.out == ""
    assert list(outcome.folder.iterdir()) == []
    return outcome.err.splitlines()


@pytest.mark.parametrize(
    "more", [[], ["-m", "seed=0,1"], ["search=bayes"], ["hydra/launcher=basic"], ["--cfg", "job"]]
)
def test_all_errors_are_reported_together(command: Command, more: list[str]) -> None:
    words = ["temprature=4", "loss=[kl,fitnett]", "trainer.epochs=ten", *more]
    found = lines(command(*words, tiny=False))
    assert len(found) == len(FOUND)
    assert all(map(str.startswith, found, FOUND))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["T=1,four"], "T must be a number, got four"),
        (["sed=0,1"], "sed must be a key of the config, got sed=0,1; did you mean seed?"),
        (["seed=range(0)"], "seed must be a range with at least one value, got range(0)"),
        (["T=glob(x*)"], "T must be values or a range of steps, got glob(x*)"),
        (["seed=range(3),7"], "seed must be values or one range of steps, got range(3),7"),
        (["T=interval(1,4)"], "T must be values or a range of steps without a search, got"),
        (["~schedule"], "schedule must name at least one option of constant, cosine,"),
        (["search=bayes", "nope=interval(0,1)"], "nope must be a key of the config, got nope="),
        (["hydra/launcher=basic", "T=1,four"], "T must be a number, got four"),
        (["hydra.launcher=null"], "hydra/launcher must name an option, got null"),
        (["hydra.searchpath=3"], "hydra.searchpath must be a list of folders, got 3"),
        (
            ["hydra.sweeper.max_batch_size=0"],
            "hydra.sweeper.max_batch_size must be null or at least 1, got 0",
        ),
        (["hydra.verbose=[a,3]"], "hydra.verbose must be true, false, a logger or a list of"),
        (["hydra/sweeper=optuna", "T=1,four"], "T must be a number, got four"),
        (
            ["hydra.searchpath=[nowhere]"],
            "hydra.searchpath must be folders that exist, got nowhere",
        ),
        (
            ["hydra.verbose=3.4"],
            "hydra.verbose must be true, false, a logger or a list of loggers, got 3.4",
        ),
        (["T", "=", "4"], "T must be written without spaces, T=4, got T = 4"),
    ],
)
def test_what_only_jobs_would_show_makes_no_folder(
    command: Command, words: list[str], sentence: str
) -> None:
    (found,) = lines(command(*words, tiny=False))
    assert found.startswith(sentence)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["hydra/launcher=basic", "T=4,0"], "T must be a number from 1e-6 to 1e6, got 0 (run 1"),
        (["hydra.launcher._target_=nope"], "the overrides must be composable, got hydra.launcher."),
        (["hydra.mode=RUN", "T=0"], "T must be a number from 1e-6 to 1e6, got 0"),
        (["hydra/launcher=basic", "resume=true"], "resume=true needs hydra.sweep.dir=FOLDER or"),
        (["hydra/launcher=basic", "T=4,4"], "T must have each value once to be swept, got 4"),
    ],
)
def test_a_stock_launcher_starts_no_job_of_a_sweep_with_a_wrong_one(
    command: Command, words: list[str], sentence: str
) -> None:
    outcome = command(*words, tiny=False)
    assert outcome.code == 1
    assert outcome.err.startswith(sentence)
    assert len(outcome.err.splitlines()) == 1
    assert outcome.out.startswith("Checking the ")  # before torch is imported
    assert list(outcome.folder.iterdir()) == []


def test_a_refusal_that_depends_on_the_data_leaves_nothing(command: Command) -> None:
    small = ["dataset=fake", "dataset.source.num_train=100", "dataset.source.num_test=20"]
    outcome = command(*small, "loss=fitnet", "loss.fitnet.pairs=[[a,layer99]]", tiny=False)
    assert outcome.code == 1
    assert [line.partition(" must ")[0] for line in outcome.err.splitlines()] == 2 * [
        "loss.fitnet.pairs"
    ]
    assert list(outcome.folder.iterdir()) == []


def test_a_traceback_is_shown_with_debug(command: Command) -> None:
    outcome = command("temprature=4", "debug=true", tiny=False)
    assert outcome.code == 1
    assert "Traceback" in outcome.err
    assert "UserError: temprature must be a key" in outcome.err


def test_an_error_reaches_the_interpreter_if_the_environment_asks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [])
    monkeypatch.setattr("sys.excepthook", sys.excepthook)  # main sets it
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    outcome = CliRunner().invoke(app, ["train", "temprature=4"])
    assert isinstance(outcome.exception, UserError)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--config-dir", "nowhere"], "--config-dir must be a folder that exists, got nowhere"),
        (["--config-name", "trane"], "--config-name must be a config in conf/, got trane"),
        (["-m", "--cfg", "job"], "the switches must go together, got -m --cfg: Only one of"),
        (["--lr=0.1"], "--lr=0.1 must be an override without dashes, lr=VALUE, or a switch"),
        (["--cfg", "jobs"], "--cfg must be one of job, hydra, all, got jobs; did you mean job?"),
        (["--help", "T=ten"], "the overrides must be composable, got T=ten: T: Value 'ten' of"),
        (["--config-name"], "--config-name must be followed by a value, got none"),
        (["--config=x"], "a switch must be one that --hydra-help lists, got ambiguous option:"),
        (["--cfg", "job", "--resolve", "T=${tau}"], "T must refer to a key, got ${tau}"),
        (
            ["--cfg", "all", "--resolve", "optimizer.lr=${optimizer.rl}"],
            "optimizer.lr must refer to a key, got ${optimizer.rl}",
        ),
        (["--cfg", "job", "T=1,4"], "T must have one value with --cfg job, got 1,4"),
    ],
)
def test_switches_of_hydra(command: Command, words: list[str], sentence: str) -> None:
    (found,) = lines(command(*words, tiny=False))
    assert found.startswith(sentence)


def test_estimate_refuses_them_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hydra._internal.utils, "is_under_debugger", lambda: False)
    monkeypatch.setattr("sys.argv", [])
    monkeypatch.setattr("sys.excepthook", sys.excepthook)  # main sets it
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    outcome = CliRunner().invoke(app, ["estimate", "temprature=4", "loss=[kl,fitnett]"])
    assert outcome.exit_code == 1
    assert [line.partition(" ")[0] for line in outcome.output.splitlines()] == [
        "loss",
        "temprature",
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.ci
def test_no_refusal_waits_for_torch() -> None:
    """Importing it takes seconds, and the callback refuses sweeps before any run is built."""
    code = "import sys, kdsweep.cli, kdsweep.sweeps.callbacks; print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"


@pytest.mark.ci
def test_own_yaml_without_a_class(command: Command, tmp_path: Path) -> None:
    for group, text in (("loss", "mine: {weight: 1}\n"), ("optimizer", "lr: 0.1\n")):
        (tmp_path / "own" / group).mkdir(parents=True)
        (tmp_path / "own" / group / "mine.yaml").write_text(text)
    outcome = command("--config-dir", "own", "loss=mine", "optimizer=mine", tiny=False)
    assert outcome.code == 1
    assert sorted(outcome.err.splitlines()) == [
        "loss.mine._target_ must be the path of a class, got none",
        "optimizer._target_ must be the path of a class, got none",
    ]
