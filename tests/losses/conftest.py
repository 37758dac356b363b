"""The golden inputs as fixtures."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from kdsweep.common.types import Batch, Output
from kdsweep.losses.base.feature_term import FeatureTerm


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
    return Output(logits, {"student_map": torch.sin(0.3 * b + 0.5 * c + 0.7 * h + 0.9 * w)})


@pytest.fixture
def teacher() -> Output:
    i, j = grid(4, 5)
    b, c, h, w = grid(4, 3, 4, 4)
    logits = 4 * torch.cos(0.4 * i + 0.9 * j)
    return Output(logits, {"teacher_map": torch.cos(0.2 * b + 0.4 * c + 0.6 * h + 0.8 * w)})


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


class Golden(NamedTuple):
    """Features by formula: the reference repositories' own code has produced the golden values."""

    fs: Tensor  # a student's map (4, 3, 4, 4)
    ft: Tensor  # a teacher's, with more channels (4, 6, 4, 4)
    ft2: Tensor  # smaller as well (4, 6, 2, 2)
    ft3: Tensor  # in the student's shape (4, 3, 4, 4)
    es: Tensor  # a student's embedding (4, 3)
    et: Tensor  # a teacher's (4, 6)


@pytest.fixture
def golden() -> Golden:
    def teachers_map(*shape: int) -> Tensor:
        b, c, h, w = grid(*shape)
        return torch.cos(0.2 * b + 0.4 * c + 0.6 * h + 0.8 * w)

    b, c, h, w = grid(4, 3, 4, 4)
    i, j = grid(4, 3)
    k, m = grid(4, 6)
    return Golden(
        fs=torch.sin(0.3 * b + 0.5 * c + 0.7 * h + 0.9 * w),
        ft=teachers_map(4, 6, 4, 4),
        ft2=teachers_map(4, 6, 2, 2),
        ft3=teachers_map(4, 3, 4, 4),
        es=torch.sin(0.3 * i + 0.5 * j) + 0.1 * i * j,
        et=torch.cos(0.2 * k + 0.4 * m) - 0.05 * k**2,
    )


class Case(NamedTuple):
    """A paired term, bound, with what it is to be called with."""

    term: FeatureTerm
    student: Output
    teacher: Output
    batch: Batch

    def value(self) -> Tensor:
        torch.manual_seed(1)  # as before every step: some terms draw
        value: Tensor = self.term(self.student, self.teacher, self.batch)
        return value


MakeCase = Callable[..., Case]


@pytest.fixture
def case() -> MakeCase:
    """``case(AT, [fs], [ft])``: the term over these pairs of features, in their order.

    ``bound_to`` are other features, with which it is bound; 10 classes, 50 training images.
    """

    def made(
        constructor: Callable[..., FeatureTerm],
        features: list[Tensor],
        targets: list[Tensor],
        bound_to: tuple[list[Tensor], list[Tensor]] | None = None,
        **options: Any,
    ) -> Case:
        def output(tensors: list[Tensor], side: int) -> Output:
            logits = torch.zeros(len(tensors[0]), 10)
            names = [pair[side] for pair in term.pairs]
            return Output(logits, dict(zip(names, tensors, strict=True)))

        options = {"weight": 1.0} | options
        torch.manual_seed(0)
        term = constructor([[f"f{n}"] * 2 for n in range(len(features))], **options)
        bound = bound_to or (features, targets)
        term.setup(output(bound[0], 0), output(bound[1], 1), torch.arange(50) % 10)
        if term.needs_trained_teacher:
            term.read_teacher(nn.Linear(targets[0].shape[1], 10))
        index = torch.arange(len(features[0]))
        images = torch.zeros(len(index), 1, 2, 2)
        batch = Batch(images, index % 10, index)
        return Case(term, output(features, 0), output(targets, 1), batch)

    return made
