"""A search's name and identity, from all that is not searched, and the keys that have an effect."""

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from kdsweep.common.nested import leaves
from kdsweep.config.added_keys import is_of_kdsweep, without_added_below
from kdsweep.config.copying import without_hydra
from kdsweep.config.interpolation import interpolates
from kdsweep.config.overrides import CONTROL
from kdsweep.config.schema import SearchConfig
from kdsweep.errors import UserError
from kdsweep.runs.fingerprint import READING
from kdsweep.search.space import Applies, Space, fixed_keys

# Where files are and how they are read: a search can be resumed when these change.
PATHS = ("teacher.store", "dataset.root", *(f"dataset.source.{key}" for key in READING))
# Keys of the above that were added later: the names of searches do not depend on them.
ADDED = ("dataset.source.csv", "dataset.source.nested")


def base_config(context: HydraContext, config: DictConfig, fixed: Sequence[str]) -> DictConfig:
    """The config common to all trials: with the fixed overrides, without the searched ones."""
    return without_hydra(context.config_loader.load_sweep_config(config, list(fixed)))


def search_name(config: DictConfig, base: DictConfig, space: Space) -> str:
    """The option of the search group and a hash of what is not searched: `bayes-1f0c93d2`."""
    text = json.dumps(_not_searched(base, space), sort_keys=True, default=str)
    choice = config.hydra.runtime.choices.get("search") or "search"
    return f"{choice}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def settings(
    config: DictConfig, options: SearchConfig, base: DictConfig, space: Space
) -> dict[str, Any]:
    """What is not searched and must not change within a search, by dotted key.

    Paths are left out, and how much is searched: n_trials, timeout, workers, finalists.
    """
    values = dict(leaves(_not_searched(base, space)))
    sampler = OmegaConf.to_container(config.hydra.sweeper.sampler, resolve=True)
    assert isinstance(sampler, dict)
    return {
        "hydra.sweeper.n_jobs": config.hydra.sweeper.n_jobs,
        **dict(leaves(sampler, "hydra.sweeper.sampler")),
        **dict(leaves(options.pruner or {}, "search.pruner")),
        **{key: value for key, value in values.items() if key not in PATHS},
    }


def _not_searched(base: DictConfig, space: Space) -> dict[Any, Any]:
    """The base config, interpolations unresolved, without control keys and searched ones.

    A group that is searched (`loss=kl,ce`) is dropped as a whole; fixed overrides below it
    (`loss.kl.weight=2`) are then kept as they are.
    """
    values = OmegaConf.to_container(base, resolve=False)
    assert isinstance(values, dict)
    for key in (*CONTROL, *space.keys, *ADDED, "seed"):
        _drop(values, key)
    values = without_added_below(values)
    below = tuple(f"{key}." for key in space.keys)
    source = values["dataset"]["source"]
    if is_of_kdsweep(source) and source.get("draft") is False:  # as above: it was added later
        _drop(values, "dataset.source.draft")
    fixed = fixed_keys(space.fixed).items()
    return values | {key: value for key, value in fixed if key.startswith(below)}


def _drop(values: dict[Any, Any], key: str) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        if not isinstance(values.get(parent), dict):
            return
        values = values[parent]
    values.pop(last, None)


def applies_with(context: HydraContext, config: DictConfig, fixed: Sequence[str]) -> Applies:
    """Whether a searched key has an effect with an option of the loss group.

    T and alpha have one if a term interpolates them, `loss.kl.weight` if there is such a term,
    every other key always.
    """

    @cache
    def with_loss(option: str) -> DictConfig:
        return base_config(context, config, [*fixed, f"loss={option}"])

    return lambda key, option: _has_effect(key, with_loss(option))


def _has_effect(key: str, config: DictConfig) -> bool:
    """Whether a key has an effect with the loss terms of a config."""
    if key in ("T", "alpha"):
        return interpolates(config, key)
    if key.startswith("loss."):
        return key.split(".")[1] in config.loss
    return True


def without_ineffective_keys(space: Space, base: DictConfig, required: Sequence[str]) -> Space:
    """The space without the keys that have no effect with any loss of the search.

    Raises UserError if one of these keys is ``required`` (the command line searches it; the others
    come from conf/search/), or no other key is left. ``base`` is the config common to all trials.
    """

    def has_effect(key: str) -> bool:
        if "loss" in space.keys:
            return any(space.applies(key, loss) for loss in space.losses)
        return _has_effect(key, base)

    ineffective = [key for key in space.keys if not has_effect(key)]
    none_left = len(ineffective) == len(space.keys)
    if refused := [key for key in ineffective if key in required or none_left]:
        loss = ",".join(space.losses) or "+".join(base.loss) or "ce"
        raise UserError(
            f"{' and '.join(refused)} must change some run to be searched,"
            f" got no effect with loss={loss}"
        )
    return space.without(ineffective)
