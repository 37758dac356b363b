"""Which search this is: a name made of all that is not searched, and what each loss listens to."""

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from kdsweep.config import follows
from kdsweep.identity import CONTROL
from kdsweep.search.space import Applies
from kdsweep.sweep.launcher import task_of


def base_config(context: HydraContext, config: DictConfig, fixed: Sequence[str]) -> DictConfig:
    """What every trial starts from: the config with the fixed overrides and no searched one."""
    return task_of(context.config_loader.load_sweep_config(config, list(fixed)))


def search_name(config: DictConfig, base: DictConfig, searched: Sequence[str]) -> str:
    """The search's option and a hash of everything that is not searched: `bayes-1f0c93d2`."""
    values = OmegaConf.to_container(base, resolve=False)
    assert isinstance(values, dict)
    for key in (*CONTROL, *searched, "seed"):
        _drop(values, key)
    text = json.dumps(values, sort_keys=True, default=str)
    choice = config.hydra.runtime.choices.get("search") or "search"
    return f"{choice}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


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

    def applies(key: str, option: str) -> bool:
        if key in ("T", "alpha"):
            return follows(with_loss(option), key)
        if key.startswith("loss."):
            return key.split(".")[1] in with_loss(option).loss
        return True

    return applies
