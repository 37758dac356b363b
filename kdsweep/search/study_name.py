"""Which search this is: a name made of all that is not searched, and what each loss listens to."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from kdsweep.config.interpolation import interpolates
from kdsweep.config.schema import SearchConfig
from kdsweep.errors import UserError
from kdsweep.identity import CONTROL, READING
from kdsweep.search.space import Applies, Space, fixed_keys
from kdsweep.sweep.launcher import task_of

# Where things lie and how they are read: a search goes on when they move.
PATHS = ("teacher.store", "dataset.root", *(f"dataset.source.{key}" for key in READING))


def base_config(context: HydraContext, config: DictConfig, fixed: Sequence[str]) -> DictConfig:
    """What every trial starts from: the config with the fixed overrides and no searched one."""
    return task_of(context.config_loader.load_sweep_config(config, list(fixed)))


def search_name(config: DictConfig, base: DictConfig, space: Space) -> str:
    """The search's option and a hash of everything that is not searched: `bayes-1f0c93d2`."""
    text = json.dumps(_not_searched(base, space), sort_keys=True, default=str)
    choice = config.hydra.runtime.choices.get("search") or "search"
    return f"{choice}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def settings(
    config: DictConfig, options: SearchConfig, base: DictConfig, space: Space
) -> dict[str, Any]:
    """What is not searched and must not change within a search, by dotted key.

    Where files lie is left out, and how much is searched: n_trials, timeout, workers, finalists.
    """
    values = dict(_flat(_not_searched(base, space)))
    sampler = OmegaConf.to_container(config.hydra.sweeper.sampler, resolve=True)
    assert isinstance(sampler, dict)
    return {
        "hydra.sweeper.n_jobs": config.hydra.sweeper.n_jobs,
        **dict(_flat(sampler, "hydra.sweeper.sampler.")),
        **dict(_flat(options.pruner or {}, "search.pruner.")),
        **{key: value for key, value in values.items() if key not in PATHS},
    }


def _not_searched(base: DictConfig, space: Space) -> dict[Any, Any]:
    """The base config, interpolations unresolved, without control keys and searched ones.

    With a group that is searched (`loss=kl,ce`) all of it goes; the fixed words below it
    (`loss.kl.weight=2`) then stand for themselves.
    """
    values = OmegaConf.to_container(base, resolve=False)
    assert isinstance(values, dict)
    for key in (*CONTROL, *space.keys, "seed"):
        _drop(values, key)
    below = tuple(f"{key}." for key in space.keys)
    fixed = fixed_keys(space.fixed).items()
    return values | {key: value for key, value in fixed if key.startswith(below)}


def _flat(values: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _drop(values: dict[Any, Any], key: str) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        if not isinstance(values.get(parent), dict):
            return
        values = values[parent]
    values.pop(last, None)


def applies_with(context: HydraContext, config: DictConfig, fixed: Sequence[str]) -> Applies:
    """Whether a searched key has an effect with an option of the loss group.

    T and alpha have one where a term follows them, `loss.kl.weight` where there is such a term,
    every other key always.
    """

    @cache
    def with_loss(option: str) -> DictConfig:
        return base_config(context, config, [*fixed, f"loss={option}"])

    return lambda key, option: _listens(with_loss(option), key)


def _listens(config: DictConfig, key: str) -> bool:
    """Whether a key has an effect with the loss terms of a config."""
    if key in ("T", "alpha"):
        return interpolates(config, key)
    if key.startswith("loss."):
        return key.split(".")[1] in config.loss
    return True


def without_idle(space: Space, base: DictConfig, said: Sequence[str]) -> Space:
    """The space without the keys that no loss of the search listens to.

    Args:
        base: what a trial starts from.
        said: the keys that the command line searches; the others come from conf/search/.

    Raises:
        UserError: if such a key was said, or nothing else is left.
    """
    idle = [key for key in space.keys if not _has_effect(key, space, base)]
    if wrong := [key for key in idle if key in said or len(idle) == len(space.keys)]:
        raise UserError(
            f"{' and '.join(wrong)} must change some run to be searched,"
            f" got no effect with {_loss(space, base)}"
        )
    return space.without(idle)


def _has_effect(key: str, space: Space, base: DictConfig) -> bool:
    if "loss" in space.keys:
        return any(space.applies(key, loss) for loss in space.losses)
    return _listens(base, key)


def _loss(space: Space, base: DictConfig) -> str:
    """The loss in words."""
    return f"loss={','.join(space.losses) or '+'.join(base.loss) or 'ce'}"
