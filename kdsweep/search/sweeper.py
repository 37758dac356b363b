"""`hydra/sweeper=kdsweep`: Optuna searches that cannot be lost.

Only light modules are imported here: Hydra imports this file whenever it looks for plugins.
"""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from hydra_plugins.hydra_optuna_sweeper.config import Direction, OptunaSweeperConf, TPESamplerConfig
from omegaconf import DictConfig


@dataclass
class JointTPEConf(TPESamplerConfig):
    """TPE as searches here use it: keys together, and spread over a block's trials that run."""

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
    """Hands everything to `kdsweep.search.controller.Search`, imported with the first sweep."""

    def __init__(self, **options: Any) -> None:
        self.options = options

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        from kdsweep.search.controller import Search
        from kdsweep.search.validation import refuse_values

        refuse_values(config)  # first: the stock sweeper's own checks are assertions
        self.search = Search(**self.options)
        self.search.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> None:
        self.search.sweep(arguments)
