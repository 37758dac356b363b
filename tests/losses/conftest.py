"""The golden inputs as fixtures."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kdsweep.structures import Batch, Output


def grid(*shape: int) -> list[Tensor]:
    """The index of each element along each axis, in float64."""
    axes = [torch.arange(size, dtype=torch.float64) for size in shape]
    return list(torch.meshgrid(*axes, indexing="ij"))


@pytest.fixture
def student() -> Output:
    """Logits (4, 5) and one map (4, 3, 4, 4), by formula: the reference repositories' own code
    has produced the golden values of the tests from them."""
    i, j = grid(4, 5)
    b, c, h, w = grid(4, 3, 4, 4)
    logits = 3 * torch.sin(0.7 * i + 1.3 * j + 0.5)
    return Output(logits, {"ours": torch.sin(0.3 * b + 0.5 * c + 0.7 * h + 0.9 * w)})


@pytest.fixture
def teacher() -> Output:
    i, j = grid(4, 5)
    b, c, h, w = grid(4, 3, 4, 4)
    logits = 4 * torch.cos(0.4 * i + 0.9 * j)
    return Output(logits, {"theirs": torch.cos(0.2 * b + 0.4 * c + 0.6 * h + 0.8 * w)})


@pytest.fixture
def batch() -> Batch:
    return Batch(torch.zeros(4, 1, 2, 2), torch.tensor([0, 3, 1, 4]), torch.arange(4))


@pytest.fixture
def gradient_of() -> Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]:
    """``gradient_of(loss, logits)``: the gradient of ``loss(logits)`` with respect to them."""

    def gradient(loss: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
        leaf = logits.detach().clone().requires_grad_()
        (result,) = torch.autograd.grad(loss(leaf), leaf)
        return result

    return gradient
