"""Configs as Hydra composes them, in a fraction of the time where only values are set.

Hydra composes the chosen options first and sets values afterwards, so the first half is shared by
all tests. Composing is a third of the time of a small sweep.
"""

import copy
import os
from typing import Any

import hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.types import Override, OverrideType
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

from kdsweep.cli import CONF

SEARCH_PATH = {"pkg://hydra.conf", f"file://{CONF}", str(CONF), "structured://"}

compose_whole = ConfigLoaderImpl._load_configuration_impl

_shared: dict[tuple[Any, ...], DictConfig] = {}


def compose(*words: str) -> DictConfig:
    """The config of one run, without its `hydra` node, for the caller to change."""
    with hydra.initialize_config_dir(str(CONF)):
        return hydra.compose("train", list(words))


def compose_shared(
    self: ConfigLoaderImpl,
    config_name: str | None,
    overrides: list[str],
    *,
    parsed_overrides: list[Override] | None = None,
    **rest: Any,
) -> DictConfig:
    """What `ConfigLoaderImpl._load_configuration_impl` returns."""
    parsed = parsed_overrides or self.parse_overrides(config_name, overrides)
    swept = [override for override in parsed if _is_swept(override, **rest)]
    values = [override for override in parsed if _sets_a_value(override)]
    others = {id(override) for override in (*swept, *values)}
    options = [override for override in parsed if id(override) not in others]
    words = [str(override.input_line) for override in options]
    if not _can_be_shared(self, values, words):
        return compose_whole(
            self, config_name, overrides, parsed_overrides=parsed_overrides, **rest
        )
    key = (config_name, *rest.items(), *words)
    if key not in _shared:
        _shared[key] = compose_whole(self, config_name, words, parsed_overrides=options, **rest)
    config = copy.deepcopy(_shared[key])
    ConfigLoaderImpl._apply_overrides_to_config(values, config)
    with open_dict(config):
        written = config.hydra.overrides
        written.task = [o.input_line for o in parsed if not o.is_hydra_override()]
        written.hydra = [o.input_line for o in parsed if o.is_hydra_override()]
        config.hydra.runtime.cwd = os.getcwd()
    return config


def _is_swept(override: Override, *, run_mode: RunMode, **rest: Any) -> bool:
    """Whether Hydra composes the same config without it, and leaves it to the sweeper."""
    is_multirun = run_mode == RunMode.MULTIRUN
    return is_multirun and override.is_sweep_override() and not override.is_hydra_override()


def _sets_a_value(override: Override) -> bool:
    """Whether it chooses no option of a group; most of Hydra's own keys are left to Hydra."""
    key = override.key_or_group
    return not (
        (CONF / key).is_dir()
        or (override.is_hydra_override() and not key.startswith(("hydra.sweeper.", "hydra.sweep.")))
        or override.package is not None
        or override.is_sweep_override()
    )


def _can_be_shared(loader: ConfigLoaderImpl, values: list[Override], words: list[str]) -> bool:
    # Whether a key can be added or deleted depends on the values before it.
    changes = all(override.type == OverrideType.CHANGE for override in values)
    path = {element.path for element in loader.config_search_path.get_path()}
    return changes and path <= SEARCH_PATH and not any("searchpath" in word for word in words)
