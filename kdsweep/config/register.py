"""Registers the schema and the resolvers with Hydra; conf/ cannot be composed without them."""

from functools import cache

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from kdsweep.config.feature_pairs import pairs
from kdsweep.config.schema import TrainConfig


@cache  # both the launcher's entry point and the command line call this
def register() -> None:
    """Make known the skeleton, as `kdsweep_schema` in conf/train.yaml, and our resolvers."""
    OmegaConf.register_resolver("pairs", pairs, replace=True)
    OmegaConf.register_resolver("stage_epochs", stage_epochs, replace=True)
    ConfigStore.instance().store(
        name="kdsweep_schema", node=TrainConfig, provider="kdsweep", replace=True
    )


def stage_epochs(published: int, *, _root_: DictConfig) -> int:
    """`${stage_epochs:10}` in conf/stages/: as many epochs as published, or as the scale allows."""
    most = _root_.scale.stage_epochs
    return int(published) if most is None else min(int(published), int(most))
