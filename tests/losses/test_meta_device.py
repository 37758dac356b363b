"""Every loss, with every family, trains a step on the `meta` device, where reading a value fails.

So nothing in a step waits for an accelerator, and no tensor is left on the CPU. PyTorch computes
the shapes of `meta` in Python: a whole step is as slow as on a CPU, so that the passes through the
networks are tested once a family, and every loss on outputs of their shapes.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import torch
from loss_students import (
    CONVOLUTIONAL,
    IMAGES,
    LOSSES,
    SHAPE,
    make_batch,
    make_pair,
    make_parts,
    make_student,
)
from torch import Tensor, nn

from kdsweep.common.types import Batch, MixedLabels, Output
from kdsweep.training.one_device import OneDevice, without_autocast
from kdsweep.training.student import Student

OTHERS = [name for name in CONVOLUTIONAL if name not in ("cnn", "resnet8")]
WAIT = {"kdsvd": {"_linalg_eigh"}}  # docs/gpu.md


@pytest.fixture(autouse=True)
def _autocast() -> Iterator[None]:
    with without_autocast():
        yield


class Recorded(NamedTuple):
    """In place of a network: an output whose tensors are trained."""

    output: Output
    model: nn.Module

    def __call__(self, images: Tensor) -> Output:
        return self.output

    @property
    def tensors(self) -> list[Tensor]:
        return [self.output.logits, *self.output.features.values()]


def on_meta(output: Output, **options: Any) -> Output:
    """An output of the same shapes, for a whole batch."""

    def empty(tensor: Tensor) -> Tensor:
        return torch.empty(IMAGES, *tensor.shape[1:], device="meta", **options)

    features = {name: empty(feature) for name, feature in output.features.items()}
    return Output(empty(output.logits), features)


def assert_steps(student: Student, batch: Batch, target: Any, loss: str, step: int = 1) -> None:
    with OneDevice() as seen:
        student.step(batch, target(batch, step), step)
    assert student.failure is None
    assert set(seen.waiting) == WAIT.get(loss, set())
    assert not seen.nondeterministic
    assert seen.moved == 0


@pytest.mark.parametrize(
    "family",
    ["cnn", "resnet8", *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)],
)
@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_neither_waits_nor_mixes_devices(loss: str, family: str) -> None:
    parts = make_parts(loss, family)
    network = Recorded(on_meta(parts.output, requires_grad=True), parts.model)
    objective, target = parts.objective.to("meta"), on_meta(parts.target)
    optimizer = torch.optim.SGD([*network.tensors, *objective.parameters()], lr=0.1)
    student = make_student(network, objective, optimizer)  # type: ignore[arg-type]
    assert_steps(student, make_batch("meta"), lambda batch, step: target, loss)


@pytest.mark.parametrize("family", CONVOLUTIONAL)
def test_a_whole_step_neither_waits_nor_mixes_devices(family: str) -> None:
    """The first one, which measures the norm of the gradient of each term."""
    student, teacher = make_pair("fitnet", family, tensors="meta", grad_clip=1.0, ema=0.9)
    assert_steps(student, make_batch("meta"), teacher.targets, "fitnet", step=0)


@pytest.mark.parametrize("loss", ["ce", "mlkd"])
def test_nor_with_a_strong_view_and_mixed_labels(loss: str) -> None:
    student, teacher = make_pair(loss, "cnn", tensors="meta")
    batch = make_batch("meta")
    mixed = MixedLabels(batch.labels, 0.75)
    batch = batch._replace(strong=torch.empty(IMAGES, *SHAPE, device="meta"), mixed=mixed)
    assert_steps(student, batch, teacher.targets, loss)


def test_what_waits_is_noticed() -> None:
    tensor = torch.ones(3, device="meta")
    with OneDevice() as seen:
        with pytest.raises(AssertionError, match="mm: tensors of the device and of the CPU"):
            torch.ones(3, 3, device="meta") @ torch.ones(3, 3)
        with pytest.raises(RuntimeError, match="meta"):
            tensor.sum().item()
        with pytest.raises(NotImplementedError):
            tensor[tensor > 0]
        torch.ones(3).to("meta")
        maps = torch.ones(1, 1, 7, 7, device="meta", requires_grad=True)
        nn.functional.adaptive_avg_pool2d(maps, 4).sum().backward()
        torch.linalg.eigh(torch.ones(3, 3, device="meta"))
    assert seen.moved == 1
    assert set(seen.nondeterministic) == {"_adaptive_avg_pool2d_backward"}
    assert set(seen.waiting) == {"_linalg_eigh"}
