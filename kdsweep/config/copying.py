"""Copies of whole configs."""

import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

from omegaconf import DictConfig, OmegaConf


class PackedConfig:
    """A root config from which any number of copies are made."""

    def __init__(self, config: DictConfig) -> None:
        self._bytes = pickle.dumps(config)

    def copy(self) -> DictConfig:
        """A deep copy, flags and interpolations included.

        `copy.deepcopy` takes several times as long: OmegaConf copies each node in Python.
        """
        return cast("DictConfig", pickle.loads(self._bytes))


def copy_config(config: DictConfig) -> DictConfig:
    """A deep copy of a root config, by `PackedConfig`."""
    return PackedConfig(config).copy()


def without_hydra(config: DictConfig) -> DictConfig:
    """A copy of a composed config without Hydra's own node, to which keys may be added."""
    with _reduced(config, [key for key in config if key != "hydra"]):
        copied = copy_config(config)
    OmegaConf.set_struct(copied, None)
    OmegaConf.clear_cache(copied)
    return copied


def only_hydra(config: DictConfig) -> DictConfig:
    """Hydra's own node of a composed config, which is that of ``config`` and refers to it.

    By the private attribute of `_reduced`: a node that is assigned to another config is copied.
    """
    hydra = OmegaConf.create({})
    hydra.__dict__["_content"]["hydra"] = config.__dict__["_content"]["hydra"]
    return hydra


@contextmanager
def _reduced(config: DictConfig, kept: Sequence[object]) -> Iterator[None]:
    """Inside, a config has some of its keys only, so that the others are not copied.

    This reads a private attribute, because no public function does it: `OmegaConf.masked_copy`
    copies in Python and takes several times as long, and a node that is removed and assigned again
    is a copy. `tests/config/test_copying.py` checks what is assumed of OmegaConf here: that
    `_content` is the dict of a config's nodes.
    """
    nodes = config.__dict__["_content"]
    config.__dict__["_content"] = {key: nodes[key] for key in kept}
    try:
        yield
    finally:
        config.__dict__["_content"] = nodes
