"""Copies of whole configs."""

import pickle
from typing import cast

from omegaconf import DictConfig, OmegaConf


def copy_config(config: DictConfig) -> DictConfig:
    """A deep copy of a root config, flags and interpolations included.

    `copy.deepcopy` takes several times as long: OmegaConf copies each node in Python.
    """
    return cast("DictConfig", pickle.loads(pickle.dumps(config)))


def without_hydra(config: DictConfig) -> DictConfig:
    """A copy of a composed config without Hydra's own node, to which keys may be added."""
    return _reduced(config, [str(key) for key in config if key == "hydra"])


def only_hydra(config: DictConfig) -> DictConfig:
    """A copy of a composed config with Hydra's own node only."""
    return _reduced(config, [str(key) for key in config if key != "hydra"])


def _reduced(config: DictConfig, dropped: list[str]) -> DictConfig:
    """A copy without some keys, which are not copied either.

    This reads a private attribute, because no public function does it: `OmegaConf.masked_copy`
    copies in Python and takes several times as long, and a node that is removed and assigned again
    is a copy. `tests/config/test_copying.py` checks what is assumed of OmegaConf here: that
    `_content` is the dict of a config's nodes.
    """
    nodes = config.__dict__["_content"]
    config.__dict__["_content"] = {key: nodes[key] for key in nodes if key not in dropped}
    try:
        copied = copy_config(config)
    finally:
        config.__dict__["_content"] = nodes
    OmegaConf.set_struct(copied, None)
    OmegaConf.clear_cache(copied)
    return copied
