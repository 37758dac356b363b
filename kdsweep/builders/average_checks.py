"""Whether the average of a network's weights is a network of its own."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from kdsweep.common.text import error_reason
from kdsweep.errors import UserError
from kdsweep.models.components.checks import Shape
from kdsweep.training.student import Student

IMAGES = 3  # other ones, and not as many, as in the forward passes of its construction


def refuse_dependent_average(student: Student, image_shape: Shape) -> None:
    """Raise UserError if the average of a student's weights computes with the student's network.

    A copy has the hooks of the network, and so what they refer to: one that is a function of the
    network itself reads its weights, or writes what the copy then misses.
    """
    if student.average is None:
        return
    network, average = student.model, student.average.model
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(IMAGES, *image_shape, generator=generator).to(student.device)
    was_training = network.training
    network.eval()
    try:
        logits = _logits(average, images)
        expected = _logits(network, images)
        with _without_weights(network):
            afterwards = _logits(average, images)
    except Exception as error:  # a network of the user's may raise anything
        raise UserError(_refusal(student, error_reason(error))) from error
    finally:
        network.train(was_training)
    if not (_are_equal(logits, expected) and _are_equal(logits, afterwards)):
        raise UserError(_refusal(student, "a copy does not have the same logits by itself"))


def _logits(model: nn.Module, images: Tensor) -> Tensor:
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        logits: Tensor = model(images)
    return logits


def _are_equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, equal_nan=True)


@contextmanager
@torch.no_grad()
def _without_weights(network: nn.Module) -> Iterator[None]:
    """Inside, what is computed with the weights of a network is not a number."""
    values = [value for value in network.state_dict().values() if value.is_floating_point()]
    kept = [value.clone() for value in values]
    for value in values:
        value.fill_(torch.nan)
    try:
        yield
    finally:
        for value, own in zip(values, kept, strict=True):
            value.copy_(own)


def _refusal(student: Student, reason: str) -> str:
    assert student.average is not None
    return (
        f"trainer.ema must be null with a network that cannot be copied ({reason}; a hook that"
        f" refers to the network, not to its own arguments, is not copied with it), got"
        f" {student.average.decay:g}"
    )
