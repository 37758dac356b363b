"""What every test can use: the real command line in a folder of its own, and real configs."""

import gc
import logging
import os
import pickle
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import chdir, closing, redirect_stderr, redirect_stdout, suppress
from functools import cache
from hashlib import sha256
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"  # no model of kdsweep has a pickle
os.environ.pop("MLFLOW_TRACKING_URI", None)
os.environ.pop("MLFLOW_EXPERIMENT_NAME", None)
# What a shell starts in the background ignores SIGINT, and so do its children.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

from first_compilation import import_own_half, rewrite_own_half

import_own_half()

from commands import (  # noqa: E402
    TINY,
    UNDRAWN,
    Check,
    Command,
    Compose,
    Outcome,
    Refusal,
    overrides,
    run_train,
)
from shared_folders import made_once  # noqa: E402

LARGE = 2 << 30  # bytes: the slow tests have several such processes

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from postgres import Server


@pytest.fixture(scope="session", autouse=True)
def _compositions_shared() -> Iterator[None]:
    """Hydra composes equal options of the groups, parses equal words and reads a config once."""
    from compositions import compose_shared, words_parsed_once
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.config_repository import ConfigRepository
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from known_configs import load_config
    from merged_defaults import merge_defaults

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConfigLoaderImpl, "_load_configuration_impl", compose_shared)
        patch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", merge_defaults)
        patch.setattr(ConfigRepository, "load_config", load_config)
        parse = words_parsed_once(OverridesParser.parse_rule)
        patch.setattr(OverridesParser, "parse_rule", parse)
        yield


@pytest.fixture(scope="session", autouse=True)
def _migrations_read_once() -> Iterator[None]:
    """MLflow and Optuna read all scripts of their migrations whenever a database is opened."""
    from alembic.script import ScriptDirectory

    known: dict[str, Any] = {}
    begin = ScriptDirectory.__init__

    def __init__(self: ScriptDirectory, *args: Any, **options: Any) -> None:
        begin(self, *args, **options)
        self.revision_map = known.setdefault(str(self.dir), self.revision_map)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "__init__", __init__)
        yield


@pytest.fixture(scope="session", autouse=True)
def _nothing_waits_for_the_disk() -> Iterator[None]:
    """No test cuts the power: files and sqlite need not be on the disk."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def unsync(connection: Any, record: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            with suppress(sqlite3.Error):  # what is wrong with a file is raised where it is read
                connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", unsync)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield
    event.remove(Engine, "connect", unsync)


@pytest.fixture(scope="session", autouse=True)
def _coarse_figures() -> Iterator[None]:
    """Drawing takes much of the time of a report, and half the resolution shows the same."""
    from kdsweep.plotting import drawing

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing, "DPI", 60)
        yield


@pytest.fixture(scope="session", autouse=True)
def _seeds_without_stacks() -> Iterator[None]:
    """For each device that it has not initialized, PyTorch keeps the stack of the last seed."""
    import torch

    with pytest.MonkeyPatch.context() as patch:
        for device in (torch.cuda, torch.xpu, torch.mtia):
            patch.setattr(device, "traceback", SimpleNamespace(format_stack=list))
        yield


@pytest.fixture(scope="session", autouse=True)
def _gpus_counted_once() -> Iterator[None]:
    """Where there is none, PyTorch looks for the driver whenever its seeds are saved."""
    import torch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "_cached_device_count", torch.cuda.device_count())
        yield


@pytest.fixture(scope="session", autouse=True)
def _loggers_of_torch_propagate() -> Iterator[None]:
    """pytest adds its handlers to each logger that does not, for each phase of a test.

    Of the 60 loggers that do not, 50 are those of parts of PyTorch.
    """
    import torchvision  # noqa: F401  (it imports these parts)

    with pytest.MonkeyPatch.context() as patch:
        for name, logger in logging.root.manager.loggerDict.items():
            if name.startswith("torch.") and "__" not in name:  # those are off, and have no handler
                patch.setattr(logger, "propagate", True, raising=False)
        yield


@pytest.fixture(scope="module", autouse=True)
def _memory_released() -> Iterator[None]:
    """Give back what the sweeps of a module have left in a process that has grown large."""
    import psutil

    from kdsweep.training.memory import release_memory

    yield
    if psutil.Process().memory_info().rss > LARGE:
        release_memory()


@pytest.fixture
def browser() -> "Iterator[Browser]":
    """The Chromium of this machine; the test is skipped if there is none."""
    from pages import chromium  # imports Playwright

    with chromium() as started:
        yield started


@pytest.fixture(scope="session")
def postgres_server() -> "Iterator[Server]":
    """A PostgreSQL of the tests' own; a test is skipped if none is installed."""
    from postgres import postgres  # imports psycopg

    with postgres() as running:
        yield running


@pytest.fixture(scope="session")
def fresh_database(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A ready MLflow database to copy; making one takes seconds."""
    from kdsweep.tracking.mlflow.store import MLflowStore

    def make(folder: Path) -> None:
        MLflowStore.open("sqlite:///mlflow.db", "elsewhere", cwd=folder)

    return made_once("database", make, tmp_path_factory, worker_id) / "mlflow.db"


@pytest.fixture(scope="session")
def teachers(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """One store of teachers for all tests of all workers, so that each is trained once."""

    def make(folder: Path) -> None:
        (folder / "store").mkdir()

    return made_once("teachers", make, tmp_path_factory, worker_id) / "store"


@pytest.fixture
def own_teachers(tmp_path: Path) -> str:
    """The word that gives a test a store of teachers that no other test uses."""
    return f"teacher.store={tmp_path}/teachers"


def _tiny(words: tuple[str, ...], teachers: Path, tracking: bool) -> list[str]:
    """The words that make a sweep small and quick, unless its own words set the same keys."""
    small = [word for word in (*TINY, *UNDRAWN) if not overrides(words, word)]
    return [f"teacher.store={teachers}", *([] if tracking else ["tracking=none"]), *small]


@pytest.fixture
def command(
    tmp_path: Path,
    teachers: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    """`command("T=1,4", "loss=kl")`: run train.py with these words, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str, tracking: bool = False, tiny: bool = True) -> Outcome:
        base = _tiny(words, teachers, tracking) if tiny else []
        if tracking and not (tmp_path / "mlflow.db").exists():
            shutil.copy(request.getfixturevalue("fresh_database"), tmp_path / "mlflow.db")
        capsys.readouterr()
        code = run_train([*base, *words])
        out, err = capsys.readouterr()
        return Outcome(code, out, err, tmp_path)

    return run


@pytest.fixture(scope="session")
def trained(
    tmp_path_factory: pytest.TempPathFactory,
    worker_id: str,
    teachers: Path,
    request: pytest.FixtureRequest,
) -> Command:
    """`trained("T=1,4")`: what this command leaves behind. It is run once for all the tests.

    They change nothing of it; `copy_of` gives a test a copy that it may change.
    """

    @cache
    def run(*words: str, tracking: bool = False) -> Outcome:
        def make(base: Path) -> None:
            folder, out, err = base / "folder", StringIO(), StringIO()
            folder.mkdir()
            if tracking:
                shutil.copy(request.getfixturevalue("fresh_database"), folder / "mlflow.db")
            with chdir(folder), redirect_stdout(out), redirect_stderr(err):
                code = run_train([*_tiny(words, teachers, tracking), *words])
            outcome = Outcome(code, out.getvalue(), err.getvalue(), folder)
            (base / "outcome").write_bytes(pickle.dumps(outcome))

        name = sha256(repr((words, tracking)).encode()).hexdigest()[:12]
        base = made_once(f"trained-{name}", make, tmp_path_factory, worker_id)
        outcome: Outcome = pickle.loads((base / "outcome").read_bytes())
        return outcome

    return run


@pytest.fixture
def own_modules(tmp_path: Path) -> Iterator[Path]:
    """The folder of a test that imports modules from it, which are forgotten afterwards."""
    from own_modules import forgotten

    with forgotten(tmp_path):
        yield tmp_path


@pytest.fixture(scope="session")
def compose() -> Compose:
    """`compose("T=1", "loss=ce")`: the config of one run, without its `hydra` node."""
    from compositions import compose

    return compose


@pytest.fixture
def check(compose: Compose, teachers: Path) -> Check:
    """`check("T=1")`: what a command checks before it trains a run of these words."""
    from kdsweep.execution.context import TrainingContext
    from kdsweep.runs.build_specs import build_specs
    from kdsweep.runs.preflight import preflight
    from kdsweep.tracking.console import Progress

    tracking = {"uri": None, "plots": "none", "tensorboard": False, "checkpoint_seconds": 0}

    def checked(*words: str) -> None:
        base = [f"teacher.store={teachers}", *(word for word in TINY if not overrides(words, word))]
        with closing(TrainingContext(tracking, Progress())) as context:
            preflight(build_specs([compose(*base, *words)], [words], 0, []), context.dataset)

    return checked


@pytest.fixture
def refusal(check: Check) -> Refusal:
    """`refusal("T=0")`: what a run of these words is refused with, without the command line."""
    from kdsweep.errors import UserError

    def refused(*words: str) -> str:
        with pytest.raises(UserError) as caught:
            check(*words)
        return str(caught.value)

    return refused


def pytest_collection(session: pytest.Session) -> None:
    """In a fresh clone, two workers share the rewriting of assertions."""
    rewrite_own_half(session.config)


def pytest_collection_finish() -> None:
    """What was imported and collected stays; the garbage collector need not look at it again.

    Looking through the rest as often as by default takes a tenth of the time of the tests.
    """
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)


def pytest_sessionfinish() -> None:
    """What is left is searched for errors once, and not again when pytest and Python end."""
    gc.collect()
    gc.freeze()
