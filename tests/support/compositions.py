"""Configs as Hydra composes them, in a tenth of the time where only values are set.

Hydra composes the chosen options first and sets values afterwards, so the first half is shared.
"""

from functools import cache

import hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from kdsweep.cli import CONF


def compose(*words: str) -> DictConfig:
    """The config of one run, without its `hydra` node, for the caller to change."""
    values = [word for word in words if _sets_a_value(word)]
    config = options(*(word for word in words if word not in values)).copy()
    ConfigLoaderImpl._apply_overrides_to_config([_parse(word) for word in values], config)
    return config


@cache
def options(*words: str) -> DictConfig:
    """What Hydra composes of all these words."""
    with hydra.initialize_config_dir(str(CONF)):
        return hydra.compose("train", list(words))


@cache
def _parse(word: str) -> Override:
    return OverridesParser.create().parse_override(word)


def _sets_a_value(word: str) -> bool:
    """Whether the word chooses no option of a group; Hydra's own keys are left to Hydra."""
    override = _parse(word)
    key = override.key_or_group
    return not (
        (CONF / key).is_dir()
        or key.partition(".")[0] == "hydra"
        or override.package is not None
        or override.is_sweep_override()
    )
