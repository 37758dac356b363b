"""What a search is: its config, validated, with everything that follows from it alone."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf
from optuna.pruners import BasePruner

from kdsweep.builders.own_source import own_sources
from kdsweep.config.run_config import to_values
from kdsweep.config.schema import SearchConfig
from kdsweep.runs.fingerprint import NUMERICS
from kdsweep.runs.spec import RunSpec
from kdsweep.search import study_name
from kdsweep.search.sampling import make_pruner
from kdsweep.search.space import Space, grid_size, parse, searched_keys
from kdsweep.search.study import SETTINGS
from kdsweep.search.timeout import parse_timeout
from kdsweep.search.validation import (
    directions_of,
    refuse_combinations,
    refuse_deploy,
    refuse_unknown_keys,
    refuse_values,
)
from kdsweep.tracking.find_sweep import MULTIRUN


@dataclass(frozen=True)
class SearchPlan:
    """A validated search, before anything is created."""

    config: DictConfig  # with Hydra's own node
    options: SearchConfig
    base: DictConfig  # the config common to all trials
    space: Space
    name: str  # of the study and of the folder
    directions: list[str]  # `maximize` or `minimize` for each objective
    pruner: BasePruner
    block_size: int  # trials that are trained together
    n_trials: int  # in the study, over all starts
    timeout: float  # seconds

    @property
    def folder(self) -> Path:
        """Where the search is stored, below the working directory."""
        return MULTIRUN / self.name

    @property
    def is_race(self) -> bool:
        """Whether trials compete by a single value, the higher the better: val/acc."""
        return self.options.objectives == ["val/acc"] and self.directions == ["maximize"]

    @property
    def finalists(self) -> int:
        """How many of the best trials are trained again, at most."""
        return self.options.finalists if self.is_race else 0

    @property
    def finalist_seeds(self) -> range:
        """Seeds that had no part in choosing the finalists."""
        first = self.options.seeds[-1] + 1
        return range(first, first + self.options.finalist_seeds)

    def identity(self, run: RunSpec) -> dict[str, Any]:
        """What must be equal at every start of the search.

        Any of its runs has the digests of the files that the config only names.
        """
        dataset, *checkpoints = run.digests.values()
        sources = own_sources(to_values(run.config))
        own = {"source of your modules": sources} if sources else {}
        return {
            **own,
            "numerics": NUMERICS,
            "content of dataset": dataset,
            "content of checkpoints": sorted(checkpoints),
            "space": self.space.describe(),
            "search.seeds": self.options.seeds,
            "search.objectives": self.options.objectives,
            SETTINGS: study_name.settings(self.config, self.options, self.base, self.space),
        }


def make_search_plan(context: HydraContext, config: DictConfig) -> SearchPlan:
    """The search that a config describes. Raises UserError for an invalid value of a key."""
    refuse_values(config)
    options: SearchConfig = OmegaConf.to_object(config.search)  # type: ignore[assignment]
    command_line = list(config.hydra.overrides.task)
    params = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
    space = parse([*params, *command_line], lambda key, loss: True)
    space = replace(space, applies=study_name.applies_with(context, config, space.fixed))
    base = study_name.base_config(context, config, space.fixed)
    refuse_unknown_keys(space, base)
    refuse_deploy(base)
    space = study_name.without_ineffective_keys(space, base, searched_keys(command_line))
    pruner = make_pruner(options.pruner)
    refuse_combinations(config, options, space, pruner)
    is_grid = str(config.hydra.sweeper.sampler._target_).endswith("GridSampler")
    n_trials = config.hydra.sweeper.n_trials
    return SearchPlan(
        config=config,
        options=options,
        base=base,
        space=space,
        name=options.name or study_name.search_name(config, base, space),
        directions=directions_of(config),
        pruner=pruner,
        block_size=config.hydra.sweeper.n_jobs,
        n_trials=int(min(n_trials, grid_size(space))) if is_grid else n_trials,
        timeout=parse_timeout(options.timeout),
    )
