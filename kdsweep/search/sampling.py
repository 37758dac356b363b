"""A sampler a trial, seeded by the trial's number: suggestions do not depend on restarts."""

import warnings
from typing import Any

import optuna
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from optuna.exceptions import ExperimentalWarning

from kdsweep.search.hydra_optuna import OptunaSweeperImpl
from kdsweep.search.space import Space
from kdsweep.seeding import derive

WHITELIST = ("hydra_plugins.hydra_optuna_sweeper.*", "optuna.samplers.*")
ORDERED = ("QMCSampler", "GridSampler")


def make_sampler(node: DictConfig, space: Space, number: int) -> optuna.samplers.BaseSampler:
    """The configured sampler for one trial.

    A sampler that lives through a whole search continues differently after a restart; one that is
    made for (seed, trial) does not. Quasi-random sequences and grids keep their one seed: it
    orders the points, and the trial's place in that order is in the storage.
    """
    options: dict[str, Any] = {str(k): v for k, v in OmegaConf.to_container(node).items()}  # type: ignore[union-attr]
    kind, seed = str(options["_target_"]).rpartition(".")[2], options.get("seed") or 0
    options["seed"] = seed if kind in ORDERED else derive("sampler", seed, number) % 2**32
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # qmc, group: chosen knowingly
        if kind == "TPESampler" and "loss" in space.keys:
            options["group"] = True  # keys that only some losses listen to
        made = instantiate(options, _convert_="all", _execution_whitelist_=WHITELIST)
    if isinstance(made, optuna.samplers.BaseSampler):
        return made
    grid = {
        d.name: OptunaSweeperImpl._to_grid_sampler_choices(d.distribution) for d in space.dimensions
    }
    sampler = made(grid)
    assert isinstance(sampler, optuna.samplers.BaseSampler)
    return sampler
