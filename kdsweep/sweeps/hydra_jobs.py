"""Hydra's jobs under the lockstep launcher: composed, opened and closed as the basic one does."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from hydra.types import HydraContext
from omegaconf import DictConfig, open_dict, read_write

from kdsweep.config.copying import without_hydra
from kdsweep.config.overrides import is_search
from kdsweep.config.resolve import hide_passwords
from kdsweep.errors import RunFailed
from kdsweep.sweeps.hydra_job import close_job, open_job
from kdsweep.sweeps.job_configs import JobConfigLoader

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader

    from kdsweep.runs.spec import RunSpec
    from kdsweep.tracking.result import RunResult
    from kdsweep.work.executor import ExecutorFactory

    FindExecutor = Callable[[Sequence[RunSpec]], ExecutorFactory | None]


def _none(specs: object) -> None:
    """The executor of jobs that are trained in this process."""


class HydraJobs:
    """The jobs of one sweep.

    Args:
        cohort_size: most runs that are trained side by side; None: all.
        find_executor: what places the units of given runs on processes, if anything does.
    """

    def __init__(
        self,
        context: HydraContext,
        config: DictConfig,
        cohort_size: int | None,
        find_executor: "FindExecutor" = _none,
    ) -> None:
        self.context, self.config, self.cohort_size = context, config, cohort_size
        self.find_executor = find_executor
        self._loader = JobConfigLoader(context.config_loader)
        if not is_search(config):
            # The sweeper composes all jobs of a batch through this context, to see that it can.
            context.config_loader = cast("ConfigLoader", self._loader)

    def set_up_logging(self) -> None:
        """Give this process Hydra's resolvers and its logging, as Hydra's own launchers do."""
        setup_globals()
        configure_log(
            self.config.hydra.hydra_logging,
            self.config.hydra.verbose,
            execution_whitelist=self.context.execution_whitelist,
        )

    @property
    def folder(self) -> Path:
        """The directory of the sweep."""
        return Path(str(self.config.hydra.sweep.dir))

    def move_to(self, folder: Path) -> None:
        """Use another directory; sweeper and callbacks hold this very config, so they follow."""
        with read_write(self.config.hydra):
            self.config.hydra.sweep.dir = str(folder)

    @property
    def is_detached(self) -> bool:
        """Whether the sweep is only submitted (`hydra.launcher.detach` of some launchers)."""
        return bool(self.config.hydra.launcher.get("detach", False))

    def compose(self, number: int, overrides: Sequence[str]) -> DictConfig:
        """The config of one job, as Hydra composes it."""
        config = self._loader.take(self.config, overrides)
        with open_dict(config):
            config.hydra.job.id, config.hydra.job.num = str(number), number
        hide_passwords(config)
        return config

    def open(
        self,
        config: DictConfig,
        folder: Path,
        subdir: str | None = None,
        rest: DictConfig | None = None,
    ) -> JobReturn:
        """Make a job's directory with Hydra's own files and call `on_job_start`.

        ``rest`` is the config without its `hydra` node, where that has been made already.
        """
        with read_write(config.hydra):
            config.hydra.sweep.dir = str(folder)
            if subdir is not None:
                config.hydra.sweep.subdir = subdir
        return open_job(self.context, config, rest or without_hydra(config))

    def hand_over(self, summary: object) -> None:
        """Give the summary of the sweep to the callbacks that print one at its end."""
        for callback in self.context.callbacks.callbacks:
            if hasattr(callback, "sweep_summary"):
                callback.sweep_summary = summary

    def close(self, config: DictConfig, job: JobReturn, result: "RunResult") -> None:
        """Set a job's return value and call `on_job_end`."""
        if result.status == "FINISHED":
            job.return_value = objective_value(result)
        else:
            job.return_value = RunFailed(f"{result.name}: {result.reason}")
            job.status = JobStatus.FAILED
        close_job(self.context, config, job)


def objective_value(result: "RunResult") -> float:
    """What a sweeper maximises: val/acc of the last epoch; nan where nothing is held out."""
    return float("nan") if result.val_acc is None else result.val_acc
