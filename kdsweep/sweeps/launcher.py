"""`hydra/launcher=lockstep`: takes the whole grid and trains it in as few cohorts as possible.

Only this module and `kdsweep.config` are imported when Hydra looks for plugins; torch and MLflow
come in with the first launch, so that `--help` and `--cfg job` stay quick.
"""

import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from kdsweep.common.garbage import kept_for_good
from kdsweep.common.passwords import TRACKING
from kdsweep.common.text import counted
from kdsweep.config.limits import refuse_sweep
from kdsweep.config.overrides import command_words, is_kdsweep_search, is_search, is_sweep_dir_given
from kdsweep.config.register import register
from kdsweep.config.resolve import hide_passwords
from kdsweep.sweeps import grid_sweeper  # noqa: F401  (stores hydra/sweeper=grid)
from kdsweep.sweeps.hydra_jobs import HydraJobs

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from kdsweep.execution.context import TrainingContext
    from kdsweep.runs.spec import RunSpec
    from kdsweep.work.executor import ExecutorFactory
    from kdsweep.work.worker_process import EarlyProcesses

log = logging.getLogger(__name__)


@dataclass
class LockstepLauncherConf:
    _target_: str = "kdsweep.sweeps.launcher.LockstepLauncher"
    cohort_size: int | None = None  # most students trained side by side; null: all that may be
    workers: Any = 1  # processes of this machine; auto: one for each GPU, or by the cores


ConfigStore.instance().store(
    group="hydra/launcher", name="lockstep", node=LockstepLauncherConf, provider="kdsweep"
)
register()


def log_launch(what: str) -> None:
    """Log that training is launched, as Hydra's launchers do, where the output is no terminal.

    It is the first line of a log: what comes next is the import of torch, which takes seconds.
    """
    log_first(f"Launching {what}")


def log_first(line: str) -> None:
    """Log a line before torch is imported, where the output is no terminal."""
    if not sys.stdout.isatty():
        log.info(line)


class LockstepLauncher(Launcher):
    """Composes the jobs, folds those that are the same run, trains the cohorts, returns the jobs.

    Hydra's per-job folders and job callbacks are as with the basic launcher, but for names of the
    user's, which are links (`sweep.subdirs`). `hydra.job.env_set` has no effect on the training:
    all jobs share one process.
    """

    def __init__(self, cohort_size: int | None = None, workers: object = 1) -> None:
        super().__init__()
        self.cohort_size, self.workers = cohort_size, workers
        self.training: TrainingContext | None = None  # shared by the batches of a sweep
        self.early: EarlyProcesses | None = None  # worker processes that have no unit yet

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        with kept_for_good():
            from kdsweep.sweeps.directory import claim, scratch
            from kdsweep.tracking.disk import check_space

        if OmegaConf.select(config, "debug"):
            os.environ["HYDRA_FULL_ERROR"] = "1"
        self.config = config
        hide_passwords(config, TRACKING)  # Hydra compares hydra.sweeper with that of every job
        if not is_search(config):
            refuse_sweep(command_words(config))
        self.jobs = HydraJobs(hydra_context, config, self.cohort_size, self.find_executor)
        folder = self.jobs.folder
        # Only a folder that the user named may be resumed as it is: one named by the clock may
        # belong to another sweep of this very second.
        self.chosen = folder if is_sweep_dir_given(config) else None
        if not is_kdsweep_search(config):
            resumes = self.chosen and OmegaConf.select(config, "resume") and folder.exists()
            # Hydra writes its note before it is known which sweep the chosen folder holds.
            self.jobs.move_to(scratch() if resumes else claim(folder, chosen=bool(self.chosen)))
        folder = self.chosen or self.jobs.folder
        check_space(folder if folder.is_dir() else Path())

    def find_executor(self, specs: "Sequence[RunSpec]") -> "ExecutorFactory | None":
        """What places the units of a sweep on processes; None: they are trained in this one.

        Raises UserError if an option of the launcher is wrong for these runs.
        """
        from kdsweep.work.local import find_workers

        if is_kdsweep_search(self.config):
            return find_workers(self.workers, specs, is_search=True)
        return find_workers(self.workers, specs, early=self.early)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        log_launch(f"{counted(len(job_overrides), 'job')} in lockstep")
        with self._early_processes(len(job_overrides)) as self.early:
            with kept_for_good():
                import torch._dynamo  # noqa: F401  (every optimizer of torch does when it is made)

                from kdsweep.sweeps.batch import launch
                from kdsweep.tracking.disk import report_disk_full

            self.jobs.set_up_logging()
            with report_disk_full(self.jobs.folder):
                self.training, returns = launch(
                    self.jobs, job_overrides, initial_job_idx, self.chosen, self.training
                )
                return returns

    def _early_processes(self, jobs: int) -> "AbstractContextManager[EarlyProcesses]":
        """Worker processes for so many jobs, as far as it is known by now what they need."""
        from kdsweep.work.worker_process import early_count, early_processes

        value = partial(OmegaConf.select, self.config)
        count = 0
        if not value("resume") and not value("dry_run"):  # else there may be nothing to train
            count = early_count(
                self.workers,
                jobs,
                device=value("trainer.device"),
                threads=value("trainer.threads"),
            )
        return early_processes(self.jobs.folder, count)
