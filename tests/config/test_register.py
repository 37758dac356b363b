import pytest
from commands import Compose
from hydra.core.config_store import ConfigStore

from kdsweep.config.register import register


def test_registering_again_changes_nothing() -> None:
    register()
    register()
    assert "kdsweep_schema.yaml" in ConfigStore.instance().list("")


@pytest.mark.parametrize(("scale", "epochs"), [("full", 40), ("tiny", 1)])
def test_a_stage_has_the_published_epochs_or_those_of_the_scale(
    compose: Compose, scale: str, epochs: int
) -> None:
    cfg = compose(f"scale={scale}", "+stages.a.epochs=${stage_epochs:40}")
    assert cfg.stages.a.epochs == epochs
