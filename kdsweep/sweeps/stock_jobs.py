"""The jobs of a grid under a stock launcher (basic, joblib, ...), checked before Hydra starts any.

Such a launcher makes the folder of a job before the job can refuse its config, and trains the jobs
before it. The lockstep launcher has all jobs, and checks them itself.
"""

from typing import cast

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from kdsweep.config.copying import without_hydra
from kdsweep.config.limits import refuse_sweep
from kdsweep.config.overrides import command_sweeps, command_words, is_search
from kdsweep.runs.build_specs import build_specs
from kdsweep.sweeps.grid_sweeper import jobs_of
from kdsweep.sweeps.job_configs import JobConfigLoader
from kdsweep.sweeps.recipe_grids import GRID_SWEEPER, RecipeLoader, swept_recipes
from kdsweep.sweeps.single_job import refuse_keys

BASIC_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"


def refuse_jobs(config: DictConfig, loader: ConfigLoader) -> None:
    """Raise UserError for all values that are not allowed in some job of a sweep.

    Only of a grid are the jobs known. ``config`` is that of the whole sweep.
    """
    if is_search(config) or str(config.hydra.sweeper._target_) not in (GRID_SWEEPER, BASIC_SWEEPER):
        return
    refuse_sweep(command_words(config))
    jobs, jobs_loader = _jobs(config, loader)
    configs = [jobs_loader.take(config, job) for job in jobs]
    plain = [without_hydra(job_config) for job_config in configs]
    for spec in build_specs(plain, jobs, 0, command_sweeps(config)):
        refuse_keys(spec, config)


def refuse_run(config: DictConfig) -> None:
    """Raise UserError for all values that are not allowed in a run with `hydra.mode=RUN`."""
    (spec,) = build_specs([without_hydra(config)], [command_words(config)], 0, [])
    refuse_keys(spec, config)


def _jobs(config: DictConfig, loader: ConfigLoader) -> tuple[list[list[str]], JobConfigLoader]:
    """The words of each job, and what composes them."""
    if recipes := swept_recipes(loader, config):
        grids = [[*recipe.params, *recipe.words] for recipe in recipes]
        loader = cast("ConfigLoader", RecipeLoader(loader, recipes))
    else:
        params = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
        parser = OverridesParser.create(config_loader=loader)
        grids = [parser.parse_overrides([*params, *command_words(config)])]
    return [job for grid in grids for job in jobs_of(grid)], JobConfigLoader(loader)
