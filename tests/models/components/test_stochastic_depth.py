"""Stochastic depth by one key, for networks of any library."""

import pytest
import torch
from commands import Compose, Refusal
from torch import nn
from torchvision.models import get_model
from torchvision.ops import StochasticDepth

from kdsweep.config.resolve import resolve_config
from kdsweep.models.components.stochastic_depth import set_torchvision_depth
from kdsweep.models.timm_model import Timm
from kdsweep.models.torchvision_model import Torchvision

SHAPE = (3, 32, 32)


def rates(model: nn.Module) -> list[float]:
    return [float(block.p) for block in model.modules() if isinstance(block, StochasticDepth)]


@pytest.mark.parametrize("name", ["efficientnet_b0", "convnext_tiny"])
def test_it_is_what_the_constructor_of_torchvision_makes(name: str) -> None:
    with torch.device("meta"):
        expected = get_model(name, stochastic_depth_prob=0.3)
        model = get_model(name)
        set_torchvision_depth(model, name, 0.3)
    assert rates(model) == pytest.approx(rates(expected))
    assert max(rates(model)) > 0.25


@pytest.mark.parametrize("name", ["swin_t", "maxvit_t"])
def test_it_is_set_where_no_constructor_of_torchvision_takes_it(name: str) -> None:
    with torch.device("meta"):
        model = get_model(name)
        set_torchvision_depth(model, name, 0.3)
    found = rates(model)
    assert found == sorted(found)
    assert found[-1] == pytest.approx(0.3)


def test_zero_turns_that_of_torchvision_off() -> None:
    model = Torchvision("efficientnet_b0", in_shape=SHAPE, num_classes=3, drop_path=0.0)
    assert set(rates(model)) == {0.0}


@pytest.mark.ci
def test_timm_gets_it_as_its_own_argument() -> None:
    timm = pytest.importorskip("timm")
    model = Timm("test_vit", in_shape=SHAPE, num_classes=3, drop_path=0.3)
    found = [m.drop_prob for m in model.modules() if isinstance(m, timm.layers.DropPath)]
    assert max(found) == pytest.approx(0.3)
    model = Timm("test_vit", in_shape=SHAPE, num_classes=3)
    assert not any(isinstance(m, timm.layers.DropPath) for m in model.modules())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["student=cnn", "student.drop_path=0.1"],
            "student.drop_path must be null with CNN, which has no stochastic depth, got 0.1",
        ),
        (
            ["student=torchvision", "student.model.name=resnet18", "student.drop_path=0.1"],
            "student.drop_path must be null with resnet18, which has no stochastic depth, got 0.1",
        ),
        (
            ["student=timm", "student.model.name=vgg11", "student.drop_path=0.1"],
            "student.drop_path must be null with vgg11, which has no stochastic depth, got 0.1",
        ),
        (["teacher.drop_path=0.1"], "teacher.drop_path must be null with CNN, which has no"),
        (["student.drop_path=1"], "student.drop_path must be null or a number in [0, 1), got 1"),
    ],
)
def test_networks_without_are_refused(refusal: Refusal, words: list[str], sentence: str) -> None:
    assert sentence in " ".join(refusal(*words).split())


@pytest.mark.ci
def test_every_network_of_a_config_has_its_own(compose: Compose) -> None:
    words = ["student=vit_tiny", "student.drop_path=0.2"]
    config = resolve_config(compose(*words, "teacher=born_again"))
    assert config.student.model["drop_path"] == 0.2
    assert config.teacher.model is not None
    assert config.teacher.model["drop_path"] == 0.2
    config = resolve_config(compose(*words, "teacher=peers", "+student@teacher.peers.mlp=mlp"))
    drops = {name: peer.model.get("drop_path") for name, peer in config.teacher.peers.items()}
    assert drops == {"second": 0.2, "mlp": None}
    config = resolve_config(compose("teacher=vit_tiny", "teacher.drop_path=0.1"))
    assert config.teacher.model is not None
    assert config.teacher.model["drop_path"] == 0.1
    assert "drop_path" not in config.student.model
