"""The gradients that an optimizer steps by, whichever it is."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from toys import make_stream, make_student, make_teacher

from kdsweep.losses.base.objective import Loss
from kdsweep.training.dot import DOT, TASK
from kdsweep.training.step import StepGradients


def loss_of(parameter: nn.Parameter, names: tuple[str, ...] = ("ce", "kl", "mse")) -> Loss:
    """Its gradient is the sum of 3, 4 and 12, for the three names, in each of two places."""
    slopes = dict(zip(("ce", "kl", "mse"), (3.0, 4.0, 12.0), strict=True))
    values: dict[str, Tensor] = {name: slopes[name] * parameter.sum() for name in names}
    return Loss(torch.stack(list(values.values())).sum(), values, values)


def compute_gradients(optimizer: Optimizer, loss: Loss, most: float | None = None) -> None:
    """Of a step from one batch."""
    gradients = StepGradients(optimizer, most=most)
    gradients.add(loss, 0, 16)
    assert gradients.ends(0)
    gradients.finish()


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


@pytest.mark.parametrize("kind", [torch.optim.SGD, DOT])
def test_a_group_has_the_mean_over_its_images(kind: type[Optimizer]) -> None:
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = kind([parameter], lr=1.0)  # type: ignore[call-arg]
    gradients = StepGradients(optimizer, batches=3, per_epoch=5)
    assert [gradients.ends(step) for step in range(5)] == [False, False, True, False, True]
    gradients.add(loss_of(parameter, ("ce",)), 3, images=6)
    gradients.add(loss_of(parameter, ("ce", "kl")), 4, images=2)
    gradients.finish()
    optimizer.step()
    assert parameter.tolist() == [-(6 * 3.0 + 2 * 7.0) / 8]


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": torch.optim.SGD, "lr": 0.1},
        {"optimizer": torch.optim.AdamW},
        {"optimizer": torch.optim.SGD, "lr": 0.1, "grad_clip": 0.05},
        {"optimizer": DOT, "lr": 0.1, "grad_clip": 0.05},
        {"optimizer": torch.optim.SGD, "lr": 0.1, "ema": 0.9},
    ],
)
def test_accumulated_batches_are_one_large_batch(options: dict[str, object]) -> None:
    """Batches of 4 in groups of 4, and of 16; the last ones of an epoch have 8 images."""
    one, four = trained(16, **options), trained(4, accumulate=4, per_epoch=10, **options)
    for name, weights in one.items():
        torch.testing.assert_close(four[name], weights, rtol=0, atol=1e-6)
    alone = trained(4, per_epoch=10, **options)
    assert max((alone[name] - weights).abs().max() for name, weights in one.items()) > 1e-3


def trained(batch_size: int, **options: object) -> dict[str, Tensor]:
    """The weights after two epochs in float64, without BatchNorm."""
    student, teacher = make_student(**options), make_teacher()  # type: ignore[arg-type]
    for part in (*student.models, student.objective, teacher.network.model):
        part.double()
    stream = make_stream(batch_size=batch_size)
    for student.epoch in range(2):
        for step, batch in enumerate(stream.epoch(student.epoch)):
            batch = batch._replace(images=batch.images.double())
            student.step(batch, teacher.targets(batch, step), step)
    assert not any(parameter.grad is not None for parameter in student.model.parameters())
    return dict(student.reported.state_dict())
