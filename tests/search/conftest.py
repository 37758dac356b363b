"""Composed searches, a finished one, and studies in real sqlite files, copies of one template."""

import shutil
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import optuna
import pytest
from commands import Command, Outcome, copy_of
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig
from optuna.storages._rdb.storage import _VersionManager
from shared_folders import made_once
from studies import FINISHED, Load, Start

from kdsweep.search.optuna_internals import SearchStudy
from kdsweep.search.study import SETTINGS, open_study


@pytest.fixture(scope="session")
def fresh_storage(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A database as Optuna creates it, in half a second; a copy takes milliseconds."""

    def make(folder: Path) -> None:
        optuna.storages.RDBStorage(f"sqlite:///{folder}/optuna.db")

    return made_once("storage", make, tmp_path_factory, worker_id) / "optuna.db"


@pytest.fixture(scope="session", autouse=True)
def _quick_to_open() -> Iterator[None]:
    """Optuna reads the many migrations of its schema once, not with every opening."""
    with pytest.MonkeyPatch.context() as patch:
        version = optuna.storages.RDBStorage("sqlite://").get_head_version()
        patch.setattr(_VersionManager, "get_head_version", lambda self: version)
        yield


@pytest.fixture(scope="session")
def start_in(fresh_storage: Path) -> Start:
    """`start_in(folder)`: open the study of a folder as every start of a search does."""

    def open_one(
        directory: Path,
        *,
        space: dict[str, str] | None = None,
        seeds: Sequence[int] = (0,),
        settings: dict[str, Any] | None = None,
        directions: Sequence[str] = ("maximize",),
        pruner: optuna.pruners.BasePruner | None = None,
        numerics: int | None = None,
    ) -> SearchStudy:
        directory.mkdir(exist_ok=True)
        if not (directory / "optuna.db").exists():
            shutil.copy(fresh_storage, directory / "optuna.db")
        identity: dict[str, Any] = {"space": space or {"T": "1 to 4"}, "search.seeds": list(seeds)}
        if settings is not None:
            identity[SETTINGS] = settings
        if numerics is not None:
            identity["numerics"] = numerics
        return open_study(
            f"sqlite:///{directory}/optuna.db",
            "night",
            list(directions),
            identity,
            pruner or optuna.pruners.NopPruner(),
            directory,
        )

    return open_one


@pytest.fixture
def start(start_in: Start, tmp_path: Path) -> Start:
    """`start()`: open the study of this test."""
    return lambda folder=".", **options: start_in(tmp_path / folder, **options)


@pytest.fixture(scope="session")
def load() -> Load:
    """`load("search=bayes", "T=1,2")`: what Hydra passes to a sweeper for this command."""
    import hydra
    from hydra._internal.callbacks import Callbacks
    from hydra.core.global_hydra import GlobalHydra

    from kdsweep.cli import CONF
    from kdsweep.sweeps.job_configs import JobConfigLoader

    with hydra.initialize_config_dir(str(CONF)):
        composer = GlobalHydra.instance().hydra
    assert composer is not None
    # One loader for all: it composes once what has the same options.
    context = HydraContext(JobConfigLoader(composer.config_loader), callbacks=Callbacks())

    @cache  # no test changes a config
    def loaded(*words: str) -> tuple[HydraContext, DictConfig]:
        config = composer.compose_config(
            config_name="train",
            overrides=list(words),
            run_mode=RunMode.MULTIRUN,
            from_shell=False,
            with_log_configuration=False,
        )
        return context, config

    return loaded


@pytest.fixture(scope="session")
def finished(trained: Command) -> Outcome:
    """A search of two trials with two seeds, in MLflow. Tests that change it use `resumable`."""
    outcome = trained(*FINISHED, tracking=True)
    assert outcome.code == 0, outcome.err
    return outcome


@pytest.fixture
def resumable(finished: Outcome, tmp_path: Path) -> list[str]:
    """A copy of the finished search in the folder of `command`, and the words that resume it."""
    copy_of(finished, tmp_path)
    return FINISHED
