"""The gradients that an optimizer steps by, whichever it is."""

import math

import pytest
import torch
from torch import Tensor, nn

from kdsweep.losses.base.objective import Loss
from kdsweep.training.dot import DOT, TASK
from kdsweep.training.step import compute_gradients


def loss_of(parameter: nn.Parameter, names: tuple[str, ...] = ("ce", "kl", "mse")) -> Loss:
    """Its gradient is the sum of 3, 4 and 12, for the three names, in each of two places."""
    slopes = dict(zip(("ce", "kl", "mse"), (3.0, 4.0, 12.0), strict=True))
    values: dict[str, Tensor] = {name: slopes[name] * parameter.sum() for name in names}
    return Loss(torch.stack(list(values.values())).sum(), values, values)


@pytest.mark.parametrize("kind", [torch.optim.SGD, DOT])
def test_gradients_replace_those_of_the_step_before(kind: type[torch.optim.Optimizer]) -> None:
    parameter = nn.Parameter(torch.zeros(2))
    optimizer = kind([parameter], lr=1.0)  # type: ignore[call-arg]
    parameter.grad = torch.ones(2)
    compute_gradients(optimizer, loss_of(parameter))
    optimizer.step()
    assert parameter.tolist() == [-19.0, -19.0]


@pytest.mark.parametrize("kind", [torch.optim.SGD, DOT])
def test_the_norm_of_the_whole_gradient_is_bounded(kind: type[torch.optim.Optimizer]) -> None:
    parameter = nn.Parameter(torch.zeros(2))
    optimizer = kind([parameter], lr=1.0)  # type: ignore[call-arg]
    compute_gradients(optimizer, loss_of(parameter), most=0.5)
    optimizer.step()
    assert parameter.tolist() == pytest.approx([-0.5 / math.sqrt(2)] * 2)


@pytest.mark.parametrize(
    ("names", "task"), [(("ce", "kl", "mse"), 3.0), (("ce",), 3.0), (("kl", "mse"), None)]
)
def test_dot_averages_the_hard_term_and_the_others_apart(
    names: tuple[str, ...], task: float | None
) -> None:
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = DOT([parameter], lr=1.0)
    compute_gradients(optimizer, loss_of(parameter, names))
    assert task == (None if parameter.grad is None else parameter.grad.item())
    optimizer.step()
    state = optimizer.state[parameter]
    assert (TASK in state) == (task is not None)
    soft = sum({"kl": 4.0, "mse": 12.0}.get(name, 0.0) for name in names)
    assert [float(average) for key, average in state.items() if key != TASK] == [soft] * bool(soft)
