"""Every model that conf/ offers is built as the command line builds it."""

from pathlib import Path

import pytest
from commands import Compose
from omegaconf import OmegaConf

from kdsweep.build import build_dataset, build_model, build_student, build_teacher_network
from kdsweep.cli import CONF
from kdsweep.config import resolved
from kdsweep.models.normalisation import IMAGENET

MODELS = sorted(
    (path.parent.name, path.stem)
    for group in ("teacher", "student")
    for path in Path(CONF / group).glob("*.yaml")
    if path.stem != "none"
)


@pytest.mark.parametrize(("group", "option"), MODELS)
def test_a_model_of_the_config_is_built(compose: Compose, group: str, option: str) -> None:
    words = [f"{group}={option}"]
    if option == "timm":
        pytest.importorskip("timm")
    if option in ("torchvision", "timm"):
        words.append(f"{group}.model.name=resnet18")
    node = OmegaConf.to_container(compose(*words)[group].model, resolve=True)
    assert isinstance(node, dict)
    model = build_model({str(k): v for k, v in node.items()}, group, (3, 32, 32), 10)
    assert sum(parameter.numel() for parameter in model.parameters()) > 1000


def test_a_network_that_expects_other_images_than_the_data_set_gives_is_bridged(
    compose: Compose,
) -> None:
    words = ["dataset=fake", "teacher=torchvision", "student=torchvision", "loss=ce"]
    words += [f"{group}.model.name=resnet18" for group in ("teacher", "student")]
    words += [f"{group}.model.normalize=imagenet" for group in ("teacher", "student")]
    values = resolved(compose(*words))
    dataset = build_dataset(values["dataset"], "cpu")
    networks = [
        build_student(values, dataset, None, steps_per_epoch=1).network,
        build_teacher_network(values, dataset, ()),
    ]
    expected = [ours / theirs for ours, theirs in zip(dataset.std, IMAGENET.std, strict=True)]
    for network in networks:
        scale = network.model.get_submodule("bridge").get_buffer("scale")
        assert scale.flatten().tolist() == pytest.approx(expected)
