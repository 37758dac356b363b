"""Hydra's defaults, merged from the first that differs from a composition before it.

Merging the thirty configs of a defaults list is most of the time of a composition. Configs of two
tests differ in an option or two: what comes before these is the same.
"""

import pickle
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import IConfigRepository
from hydra.core.default_element import ResultDefault
from hydra.core.object_type import ObjectType
from known_configs import SOURCES
from omegaconf import DictConfig, OmegaConf, flag_override
from omegaconf.basecontainer import BaseContainer

merge_all = ConfigLoaderImpl._compose_config_from_defaults_list

OFTEN_CHOSEN = ("dataset", "teacher", "student", "loss")  # what is merged before them is kept

_merged: dict[tuple[str, ...], bytes] = {}


def merge_defaults(
    self: ConfigLoaderImpl, defaults: list[ResultDefault], repo: IConfigRepository
) -> DictConfig:
    """What `ConfigLoaderImpl._compose_config_from_defaults_list` returns."""
    names = tuple(map(repr, defaults))
    try:
        lasting = _number_of_lasting(defaults, repo)
        config, start = _longest_known(names[:lasting])
        with flag_override(config, "no_deepcopy_set_nodes", True):
            for number in range(start, len(defaults)):
                is_new = number <= lasting and names[:number] not in _merged
                if is_new and _is_often_chosen(defaults[number]):
                    config._re_parent()
                    _merged[names[:number]] = pickle.dumps(config)
                # As `merge_with`, which sets the parents of all nodes each time.
                loaded = self._load_single_config(defaults[number], repo).config
                BaseContainer._map_merge(config, loaded)
            config._re_parent()
        config._set_flag("no_deepcopy_set_nodes", None)  # what was merged before has it
    except Exception:
        return merge_all(self, defaults, repo)  # it raises Hydra's own error
    _strip_defaults(config)
    return config


def _number_of_lasting(defaults: list[ResultDefault], repo: IConfigRepository) -> int:
    """How many come before the first that is a test's own file, which may change."""
    if {source.path for source in repo.get_sources()} <= SOURCES:
        return len(defaults)
    for number, default in enumerate(defaults):
        source = repo._find_object_source(default.config_path, ObjectType.CONFIG)
        if source is None or source.path not in SOURCES:
            return number
    return len(defaults)


def _longest_known(names: tuple[str, ...]) -> tuple[DictConfig, int]:
    """What the first of the defaults are merged to, and how many these are."""
    for count in range(len(names), 0, -1):
        if names[:count] in _merged:
            return pickle.loads(_merged[names[:count]]), count
    return OmegaConf.create(), 0


def _is_often_chosen(default: ResultDefault) -> bool:
    return str(default.config_path).partition("/")[0] in OFTEN_CHOSEN


def _strip_defaults(config: Any) -> None:
    """Remove what is left of the defaults lists, as Hydra does."""
    if not isinstance(config, DictConfig) or config._is_missing() or config._is_none():
        return
    with flag_override(config, ["readonly", "struct"], False):
        if config._get_flag("HYDRA_REMOVE_TOP_LEVEL_DEFAULTS"):
            config._set_flag("HYDRA_REMOVE_TOP_LEVEL_DEFAULTS", None)
            config.pop("defaults", None)
        for _, value in config.items_ex(resolve=False):
            _strip_defaults(value)
