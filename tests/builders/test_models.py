"""Networks are built for the images that a data set gives; test_conf.py builds every yaml."""

import pytest
from commands import Compose

from kdsweep.builders.data import build_dataset
from kdsweep.builders.models import build_teacher_network
from kdsweep.builders.students import build_student
from kdsweep.config.resolve import resolve_config
from kdsweep.models.components.input_normalization import IMAGENET


@pytest.mark.ci
def test_a_network_that_expects_other_images_than_the_data_set_gives_is_bridged(
    compose: Compose,
) -> None:
    words = ["dataset=fake", "teacher=torchvision", "student=torchvision", "loss=ce"]
    words += [f"{group}.model.name=resnet18" for group in ("teacher", "student")]
    words += [f"{group}.model.normalize=imagenet" for group in ("teacher", "student")]
    config = resolve_config(compose(*words))
    dataset = build_dataset(config.dataset, "cpu")
    networks = [
        build_student(config, dataset, (), steps_per_epoch=1).network,
        build_teacher_network(config.teacher.model or {}, config.teacher.seed, dataset),
    ]
    expected = [given / expected for given, expected in zip(dataset.std, IMAGENET.std, strict=True)]
    for network in networks:
        scale = network.model.get_submodule("bridge").get_buffer("scale")
        assert scale.flatten().tolist() == pytest.approx(expected)
