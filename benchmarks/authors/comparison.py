"""What a row compares, the list of rows, and how far two losses are apart.

Both losses get the same inputs and weights, random float32 numbers. Theirs is evaluated in float64;
ours in float64, where only the formulas can differ, and in float32, where the difference is our
rounding.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from authors.checkouts import Repository, definitions, on_cpu_in_float64
from kdsweep.losses.base.compute_loss import compute_loss
from kdsweep.losses.base.term import Term

SEEDS = range(5)

Loss = Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]


@dataclass
class Case:
    """Our term and their loss on one draw of features or logits, in float64.

    ``ours`` is set up, with the weights of ``theirs``, which is a function of the list of the
    student's tensors and the list of the teacher's, as is ``ours`` where it is not a term.
    """

    ours: Term | Loss
    theirs: Loss
    student: list[Tensor]
    teacher: list[Tensor]
    labels: Tensor | None = None


class Row(NamedTuple):
    """A comparison of one loss with one file or several."""

    loss: str
    repository: Repository | None  # None: the installed torch
    paths: tuple[str, ...]
    cases: Callable[..., Iterator[Case]]
    note: str


class Errors(NamedTuple):
    """The largest relative error of the value and of the student's gradient."""

    value: float
    gradient: float


ROWS: list[Row] = []

Cases = Callable[..., Iterator[Case]]


def compares(
    loss: str, repository: Repository | None, *paths: str, note: str = ""
) -> Callable[[Cases], Cases]:
    """Adds a row: the function gets a module for each of ``paths`` and yields its cases.

    ``note`` is printed behind the files: settings, or what is left out.
    """

    def add(cases: Cases) -> Cases:
        ROWS.append(Row(loss, repository, paths, cases, note))
        return cases

    return add


def errors_of(row: Row, folder: Path) -> tuple[Errors, Errors]:
    """In float64 and in float32. Raises FileNotFoundError for what is missing in ``folder``."""
    double, single = Errors(0, 0), Errors(0, 0)
    with on_cpu_in_float64(), redirect_stdout(None):
        for seed in SEEDS:
            torch.manual_seed(seed)
            for case in row.cases(*modules_of(row, folder)):
                theirs = evaluate(case.theirs, case)
                double = larger(double, distance(evaluate(case.ours, case), theirs))
                rounded = evaluate(case.ours, case, torch.float32)
                single = larger(single, distance(rounded, theirs))
    return double, single


def modules_of(row: Row, folder: Path) -> list[Any]:
    if row.repository is None:
        return []
    files = [row.repository.file(folder, path) for path in row.paths]
    assert all(file.is_file() for file in files)
    return [definitions(folder / row.repository.name, path) for path in row.paths]


def evaluate(
    loss: Term | Loss, case: Case, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, list[Tensor]]:
    """The value, and the gradient of each of the student's tensors."""
    student = [tensor.to(dtype).requires_grad_() for tensor in detached(case.student)]
    teacher = [tensor.to(dtype) for tensor in detached(case.teacher)]
    if isinstance(loss, Term):
        term = copy.deepcopy(loss).to(dtype)  # some keep what they have seen
        torch.manual_seed(0)  # some draw
        value = compute_loss(term, student, teacher, case.labels)
    else:
        value = loss(student, teacher)
    return value.detach().squeeze(), list(torch.autograd.grad(value.sum(), student))


def detached(tensors: list[Tensor]) -> list[Tensor]:
    """Copies: some code works in place."""
    return [tensor.detach().clone() for tensor in tensors]


def distance(ours: tuple[Tensor, list[Tensor]], theirs: tuple[Tensor, list[Tensor]]) -> Errors:
    gradients = zip(ours[1], theirs[1], strict=True)
    return Errors(relative(ours[0], theirs[0]), max(relative(*pair) for pair in gradients))


def relative(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference over the largest element."""
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    scale = theirs.abs().max().clamp(min=torch.finfo(torch.float64).tiny)
    return float((ours.double() - theirs).abs().max() / scale)


def larger(one: Errors, other: Errors) -> Errors:
    return Errors(*map(max, one, other))
