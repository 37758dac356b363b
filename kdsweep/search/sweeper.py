"""`hydra/sweeper=kdsweep`: Optuna searches that survive interruptions.

Only light modules are imported here: Hydra imports this file whenever it looks for plugins.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from hydra_plugins.hydra_optuna_sweeper.config import Direction, OptunaSweeperConf, TPESamplerConfig
from omegaconf import DictConfig

from kdsweep.common.text import counted
from kdsweep.config.overrides import is_lockstep

if TYPE_CHECKING:
    from kdsweep.sweeps.launcher import LockstepLauncher


@dataclass
class JointTPEConf(TPESamplerConfig):
    """TPE over all keys jointly, which takes the running trials of a block into account."""

    seed: int | None = 0
    n_startup_trials: int = 8  # random ones; one block
    multivariate: bool = True
    constant_liar: bool = True


@dataclass
class SearchSweeperConf(OptunaSweeperConf):
    """The keys of the stock Optuna sweeper; `n_trials` is a total over all starts."""

    _target_: str = "kdsweep.search.sweeper.SearchSweeper"
    defaults: list[Any] = field(default_factory=lambda: [{"sampler": "joint_tpe"}])
    direction: Any = Direction.maximize
    storage: Any | None = "sqlite:///optuna.db"
    n_trials: int = 60
    n_jobs: int = 8  # trials that are trained together, in lockstep


ConfigStore.instance().store(
    group="hydra/sweeper", name="kdsweep", node=SearchSweeperConf, provider="kdsweep"
)
ConfigStore.instance().store(
    group="hydra/sweeper/sampler", name="joint_tpe", node=JointTPEConf, provider="kdsweep"
)


class SearchSweeper(Sweeper):
    """Runs searches; what runs them is imported with the first one.

    The options are read from the config, where they are validated before anything is made of them.
    """

    launcher: "LockstepLauncher"

    def __init__(self, **options: Any) -> None:
        pass

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        from kdsweep.errors import UserError
        from kdsweep.search.plan import make_search_plan
        from kdsweep.sweeps.launcher import LockstepLauncher

        if not is_lockstep(config):
            raise UserError(
                "hydra/launcher must be lockstep, lockstep_slurm or lockstep_ray in a search, got"
                " another one; hydra/sweeper=optuna searches with any launcher"
            )
        self.plan = make_search_plan(hydra_context, config)
        launcher = Plugins.instance().instantiate_launcher(
            config=config, hydra_context=hydra_context, task_function=task_function
        )
        assert isinstance(launcher, LockstepLauncher)
        if launcher.workers == 1 and self.plan.options.workers is not None:
            launcher.workers = self.plan.options.workers
        self.jobs = launcher.jobs
        self.jobs.move_to(self.plan.folder)

    def sweep(self, arguments: list[str]) -> None:
        from kdsweep.sweeps.launcher import log_launch

        self.jobs.set_up_logging()
        log_launch(f"a search of {counted(self.plan.n_trials, 'trial')}")
        from kdsweep.search.controller import run_search

        run_search(self.plan, self.jobs)
