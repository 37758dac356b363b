"""Networks whose averaged weights would not be a network of their own."""

from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Refusal
from own_modules import forgotten, write_module
from torch import Tensor, nn
from toys import SHAPE, make_student

from kdsweep.builders.average_checks import refuse_dependent_average
from kdsweep.errors import UserError
from kdsweep.training.checkpoint import sha256
from kdsweep.training.weight_average import WeightAverage

MODULE = """
from torch import nn


class Net(nn.Module):
    def __init__(self, in_channels, num_classes, width, **options):
        super().__init__()
        self.body = nn.Conv2d(in_channels, width, 3)
        self.head = nn.Linear(width, num_classes)
        self.body.register_forward_hook(lambda body, inputs, output: setattr(self, "kept", output))

    def forward(self, images):
        self.body(images)
        return self.head(self.kept.mean((2, 3)))
"""
SENTENCE = (
    "trainer.ema must be null with a network that cannot be copied ({}; a hook that refers to the"
    " network, not to its own arguments, is not copied with it), got 0.9"
)


class Scaled(nn.Module):
    """Its hook multiplies by a weight: of the network that it is called for, or of this one."""

    def __init__(self, *, is_own: bool) -> None:
        super().__init__()
        self.head, self.scale = nn.Linear(64, 4), nn.Parameter(torch.ones(4))

        def of_own(module: "Scaled", inputs: Any, output: Tensor) -> Tensor:
            return output * module.scale

        def of_this(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
            return output * self.scale

        self.register_forward_hook(of_own if is_own else of_this)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(images.flatten(1))
        return logits


@pytest.mark.parametrize("is_own", [True, False])
def test_an_average_has_no_weights_of_the_network(is_own: bool) -> None:
    student = make_student(ema=0.9)
    student.network.model = Scaled(is_own=is_own)
    student.average = WeightAverage(student.model, 0.9)
    before = sha256(student.model)
    if is_own:
        refuse_dependent_average(student, SHAPE)
    else:
        with pytest.raises(UserError) as caught:
            refuse_dependent_average(student, SHAPE)
        reason = "a copy does not have the same logits by itself"
        assert str(caught.value) == SENTENCE.format(reason)
    assert sha256(student.model) == before
    assert student.model.training


@pytest.mark.parametrize("ema", [0.9, None])
@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_networks_of_kdsweep_have_averages(model: str, ema: float | None) -> None:
    refuse_dependent_average(make_student(model=model, ema=ema), SHAPE)


def test_a_network_that_writes_to_itself_is_refused_before_training(
    refusal: Refusal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_module(tmp_path, "hooked", MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    with forgotten(tmp_path):
        words = ["teacher=none", "loss=ce", "allow=[hooked]", "student=cnn"]
        found = refusal(*words, "student.model._target_=hooked.Net", "trainer.ema=0.9")
    assert found.startswith("trainer.ema must be null with a network that cannot be copied (")
    assert found.endswith("), got 0.9")
