"""Configs as Hydra composes them, in a fraction of the time where only values are set.

Hydra composes the chosen options first and sets values afterwards, so the first half is shared by
all tests. Composing is a third of the time of a small sweep.
"""

import os
import pickle
from collections.abc import Callable
from functools import cache
from typing import Any

import hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

from kdsweep.cli import CONF

SEARCH_PATH = {"pkg://hydra.conf", f"file://{CONF}", str(CONF), "structured://"}

compose_whole = ConfigLoaderImpl._load_configuration_impl

_shared: dict[tuple[Any, ...], bytes] = {}  # pickled, of which copies are made in less time


@cache
def _hydra() -> Hydra:
    """One for all tests: each that is initialized copies the one before it."""
    with hydra.initialize_config_dir(str(CONF)):
        found = GlobalHydra.instance().hydra
    assert found is not None
    return found


def compose(*words: str) -> DictConfig:
    """The config of one run, without its `hydra` node, for the caller to change."""
    config = _hydra().compose_config("train", list(words), RunMode.RUN, from_shell=False)
    with open_dict(config):
        del config["hydra"]
    return config


def words_parsed_once(parse: Callable[..., Any]) -> Callable[..., Any]:
    """What `OverridesParser.parse_rule` returns, for the caller to change.

    The same words are parsed again for every command, several times each.
    """
    parsed: dict[tuple[str, str], bytes] = {}

    def parse_rule(self: OverridesParser, word: str, rule: str) -> Any:
        if (word, rule) not in parsed:
            parsed[word, rule] = pickle.dumps(parse(self, word, rule))
        return pickle.loads(parsed[word, rule])

    return parse_rule


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
    values = [override for override in parsed if _sets_a_value(override)]
    options = [override for override in parsed if not _sets_a_value(override)]
    words = [str(override.input_line) for override in options]
    if not _can_be_shared(self, words):
        return compose_whole(
            self, config_name, overrides, parsed_overrides=parsed_overrides, **rest
        )
    # For a sweep, a job of it and `compose` alike, unless it matters whether there may be a sweep.
    swept = any(override.is_sweep_override() for override in options)
    key = (config_name, *(rest.items() if swept else ()), *words)
    if key not in _shared:
        whole = compose_whole(self, config_name, words, parsed_overrides=options, **rest)
        _shared[key] = pickle.dumps(whole)
    config: DictConfig = pickle.loads(_shared[key])
    ConfigLoaderImpl._apply_overrides_to_config(values, config)
    with open_dict(config):
        written = config.hydra.overrides
        written.task = [o.input_line for o in parsed if not o.is_hydra_override()]
        written.hydra = [o.input_line for o in parsed if o.is_hydra_override()]
        config.hydra.runtime.cwd = os.getcwd()
    return config


def _sets_a_value(override: Override) -> bool:
    """Whether it chooses no option of a group; Hydra's own keys are left to Hydra."""
    key = override.key_or_group
    return not (
        (CONF / key).is_dir()
        or override.is_hydra_override()
        or override.package is not None
        or override.is_sweep_override()
    )


def _can_be_shared(loader: ConfigLoaderImpl, words: list[str]) -> bool:
    path = {element.path for element in loader.config_search_path.get_path()}
    return path <= SEARCH_PATH and not any("searchpath" in word or "???" in word for word in words)
