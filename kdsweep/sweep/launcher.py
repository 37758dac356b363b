"""`hydra/launcher=lockstep`: takes the whole grid and trains it in as few cohorts as possible.

Only this module and `kdsweep.config` are imported when Hydra looks for plugins; torch and MLflow
come in with the first launch, so that `--help` and `--cfg job` stay quick.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import (
    JobReturn,
    JobStatus,
    configure_log,
    run_job,
    setup_globals,
)
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from kdsweep.common.passwords import TRACKING
from kdsweep.config.limits import refuse_sweep
from kdsweep.config.register import register
from kdsweep.config.resolve import hide_passwords

if TYPE_CHECKING:
    from hydra._internal.callbacks import Callbacks
    from hydra.conf import HydraConf

    from kdsweep.run import Result, Session

log = logging.getLogger(__name__)


@dataclass
class LockstepLauncherConf:
    _target_: str = "kdsweep.sweep.launcher.LockstepLauncher"
    cohort_size: int | None = None  # most students trained side by side; null: all that may be


# Keys of Hydra's that have no effect here, and why.
IDLE_FOLDERS = {
    "hydra.run.dir": "a single run is a sweep of one, too",
    "hydra.sweep.subdir": "the folder of a run is its number in the sweep",
}

ConfigStore.instance().store(
    group="hydra/launcher", name="lockstep", node=LockstepLauncherConf, provider="kdsweep"
)
register()


class LockstepLauncher(Launcher):
    """Composes the jobs, folds those that are the same run, trains the cohorts, returns the jobs.

    Hydra's per-job folders and job callbacks are as with the basic launcher. `hydra.job.env_set`
    and `hydra.job.chdir` have no effect on the training: all jobs share one process.
    """

    def __init__(self, cohort_size: int | None = None) -> None:
        super().__init__()
        self.cohort_size = cohort_size
        self.session: Session | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        from kdsweep.sweep.directory import claim, scratch
        from kdsweep.tracking.disk import check_space

        if OmegaConf.select(config, "debug"):
            os.environ["HYDRA_FULL_ERROR"] = "1"
        self.context, self.config = hydra_context, config
        hide_passwords(config, TRACKING)  # Hydra compares hydra.sweeper with that of every job
        if not is_search(config):
            refuse_sweep(command_words(config))
        self.folder = Path(str(config.hydra.sweep.dir))
        # Only a folder that the user named may be resumed as it is: one named by the clock may
        # belong to another sweep of this very second.
        self.chosen = self.folder if folder_is_chosen(config) else None
        refuse_idle_folders(config)
        if not searches(config):
            resumes = self.chosen and OmegaConf.select(config, "resume") and self.folder.exists()
            # Hydra writes its note before it is known whose folder the chosen one is.
            self.folder = scratch() if resumes else claim(self.folder, chosen=bool(self.chosen))
        home = self.chosen or self.folder
        check_space(home if home.is_dir() else Path())
        self.move_to(self.folder)

    def move_to(self, folder: Path) -> None:
        """Work in another folder; sweeper and callbacks hold this very config, so they follow."""
        self.folder = folder
        _move(self.config, folder)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        from kdsweep.sweep.batch import launch
        from kdsweep.tracking.disk import report_disk_full

        setup_globals()
        configure_log(
            self.config.hydra.hydra_logging,
            self.config.hydra.verbose,
            execution_whitelist=self.context.execution_whitelist,
        )
        configs = [
            self.compose(number, overrides)
            for number, overrides in enumerate(job_overrides, start=initial_job_idx)
        ]
        with report_disk_full(self.folder):
            return launch(self, configs, job_overrides, initial_job_idx)

    def compose(self, number: int, overrides: Sequence[str]) -> DictConfig:
        """The config of one job, as Hydra composes it."""
        config = self.context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id, config.hydra.job.num = str(number), number
        hide_passwords(config)
        return config

    def open_job(self, config: DictConfig, folder: Path, subdir: str | None = None) -> JobReturn:
        """Make a job's folder with Hydra's own files and call `on_job_start`."""
        _move(config, folder)
        if subdir is not None:
            with read_write(config.hydra):
                config.hydra.sweep.subdir = subdir
        return run_job(
            hydra_context=replace(
                self.context, callbacks=cast("Callbacks", _StartOnly(self.context.callbacks))
            ),
            task_function=lambda cfg: HydraConfig.instance().cfg,  # for `close_job`
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
            configure_logging=False,  # a log handler a job would leave the last job's behind
        )

    def close_job(self, config: DictConfig, job: JobReturn, result: "Result") -> None:
        """Fill in a job's return value and call `on_job_end`."""
        from kdsweep.errors import RunFailed

        as_opened = cast(
            "HydraConf", job.return_value
        )  # interpolations reach into the job's config
        if result["status"] == "FINISHED":
            job.return_value = objective(result)
        else:
            job.return_value = RunFailed(f"{result['name']}: {result['reason']}")
            job.status = JobStatus.FAILED
        before = HydraConfig.instance().cfg
        HydraConfig.instance().cfg = as_opened
        try:
            self.context.callbacks.on_job_end(config=config, job_return=job)
        finally:
            HydraConfig.instance().cfg = before


def task_of(config: DictConfig) -> DictConfig:
    """A copy without Hydra's own node."""
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])


def command_words(config: DictConfig) -> list[str]:
    """The overrides of the command line as they were written, interpolations not followed."""
    words = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
    assert isinstance(words, list)
    return [str(word) for word in words]


def is_search(config: DictConfig) -> bool:
    """Whether the sweeper chooses the jobs itself (Optuna), rather than listing a grid."""
    return "direction" in config.hydra.sweeper


def searches(config: DictConfig) -> bool:
    """Whether a search of ours drives this sweep: it shares its folder with its other starts."""
    return str(config.hydra.sweeper._target_).startswith("kdsweep.search.")


def refuse_idle_folders(config: DictConfig, *keys: str) -> None:
    """Refuse a folder of Hydra's that nothing would be written to.

    Args:
        keys: of `IDLE_FOLDERS`; all of them by default.

    Raises:
        UserError: naming the key and its value.
    """
    from kdsweep.errors import UserError

    for word in config.hydra.overrides.hydra:
        key, _, value = word.lstrip("+").partition("=")
        if key in (keys or IDLE_FOLDERS):
            raise UserError(
                f"{key} must be left out, got {value}: {IDLE_FOLDERS[key]}, and"
                " hydra.sweep.dir=FOLDER names its folder"
            )


def folder_is_chosen(config: DictConfig) -> bool:
    """Whether the user named the sweep's folder, rather than the clock."""
    return any(word.startswith("hydra.sweep.dir=") for word in config.hydra.overrides.hydra)


def _move(config: DictConfig, folder: Path) -> None:
    with read_write(config.hydra):
        config.hydra.sweep.dir = str(folder)


def objective(result: "Result") -> float:
    """What a sweeper maximises: val/acc of the last epoch; nan where nothing is held out."""
    return float("nan") if result["val/acc"] is None else float(result["val/acc"])


class _StartOnly:
    """Hydra's callbacks without `on_job_end`: a job has not ended when its folder is made."""

    def __init__(self, callbacks: Any) -> None:
        self._callbacks = callbacks

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        self._callbacks.on_job_start(config=config, **kwargs)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Left to `LockstepLauncher.close_job`."""
