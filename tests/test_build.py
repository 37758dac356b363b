"""Every model that conf/ offers is built as the command line builds it."""

from pathlib import Path

import pytest
from commands import Compose
from omegaconf import OmegaConf

from kdsweep.build import build_model
from kdsweep.cli import CONF

MODELS = sorted(
    (path.parent.name, path.stem)
    for group in ("teacher", "student")
    for path in Path(CONF / group).glob("*.yaml")
    if path.stem != "none"
)


@pytest.mark.parametrize(("group", "option"), MODELS)
def test_a_model_of_the_config_is_built(compose: Compose, group: str, option: str) -> None:
    words = [f"{group}={option}"]
    if option == "torchvision":
        words.append(f"{group}.model.name=resnet18")
    node = OmegaConf.to_container(compose(*words)[group].model, resolve=True)
    assert isinstance(node, dict)
    model = build_model({str(k): v for k, v in node.items()}, group, (3, 32, 32), 10)
    assert sum(parameter.numel() for parameter in model.parameters()) > 1000
