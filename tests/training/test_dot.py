"""DOT against values of its authors' optimizer, and a student that is trained by it."""

from typing import Any

import pytest
import torch
from commands import Refusal
from torch import Tensor, nn
from toys import EPOCHS, make_stream, make_student, make_teacher, train

from kdsweep.losses.base.multi_teacher import MultiTeacherLoss
from kdsweep.losses.ctkd import CTKD
from kdsweep.losses.kl import KL
from kdsweep.training.checkpoint import sha256
from kdsweep.training.dot import DISTILLATION, DOT, TASK
from kdsweep.training.mutual import Peers
from kdsweep.training.schedule import OneCycle
from kdsweep.training.student import Student


def parameters() -> list[nn.Parameter]:
    """The first is reached by both losses, the second by distillation, the third by the task."""
    places = torch.arange(3.0, dtype=torch.float64)
    return [nn.Parameter(torch.sin(places + number)) for number in range(3)]


def losses(both: Tensor, distilled: Tensor, labelled: Tensor) -> tuple[Tensor, Tensor]:
    task = (both - 1).square().sum() + (both * labelled).sum()
    return task, (both + 2).square().sum() / 3 + (both * distilled).cos().sum()


def trained(skipped: int | None = None, **options: float) -> list[nn.Parameter]:
    """After five steps, one of them possibly without distillation."""
    made = parameters()
    optimizer = DOT(made, lr=0.05, **options)
    for step in range(5):
        task, distillation = losses(*made)
        optimizer.zero_grad()
        optimizer.backward(task, None if step == skipped else distillation)
        optimizer.step()
    return made


@pytest.mark.parametrize(
    ("options", "golden"),
    [
        (
            {"delta": 0.075, "weight_decay": 5e-4},
            [
                [0.041350303045, 0.544908593823, 0.739581892130],
                [0.841900905528, 1.143096629888, 0.190729484050],
                [0.921299246599, -0.345382222577, -1.297057580329],
            ],
        ),
        (
            {"delta": 0.0, "weight_decay": 5e-4},
            [
                [0.124641222653, 0.595591793268, 0.836894310697],
                [0.842229344874, 1.144898113093, 0.191638350304],
                [0.914867950852, -0.349099255916, -1.304521461293],
            ],
        ),
    ],
)
def test_golden_values(options: dict[str, float], golden: list[list[float]]) -> None:
    """By megvii-research/mdistiller, mdistiller/engine/dot.py; no distillation in the 4th step."""
    for found, expected in zip(trained(skipped=3, **options), golden, strict=True):
        assert found.tolist() == pytest.approx(expected, abs=1e-11)


def trained_by_sgd() -> list[nn.Parameter]:
    made = parameters()
    optimizer = torch.optim.SGD(made, lr=0.05, momentum=0.9)
    for _ in range(5):
        optimizer.zero_grad()
        sum(losses(*made)).backward()  # type: ignore[union-attr]
        optimizer.step()
    return made


def test_without_delta_it_is_sgd() -> None:
    torch.testing.assert_close(trained(delta=0.0), trained_by_sgd())
    assert not torch.allclose(trained(delta=0.05)[0], trained(delta=0.0)[0])


def test_with_weight_decay_it_is_sgd_for_parameters_that_the_labels_reach() -> None:
    """The other one, which begins to decay in the second step only, is held."""
    ours, theirs, held = parameters()[::2], parameters()[::2], torch.ones(3, dtype=torch.float64)
    dot = DOT(ours, lr=0.05, delta=0.0, weight_decay=0.1)
    sgd = torch.optim.SGD(theirs, lr=0.05, momentum=0.9, weight_decay=0.1)
    for _ in range(4):
        dot.zero_grad()
        dot.backward(*losses(ours[0], held, ours[1]))
        dot.step()
        sgd.zero_grad()
        sum(losses(theirs[0], held, theirs[1])).backward()  # type: ignore[union-attr]
        sgd.step()
    torch.testing.assert_close(ours, theirs)


def test_parameters_of_one_loss_have_the_momentum_of_sgd() -> None:
    """Whatever delta is: they do not depend on the other loss if the shared ones are held."""
    shared = torch.ones(3, dtype=torch.float64)
    made, twins = parameters()[1:], parameters()[1:]
    ours = DOT(made, lr=0.05, delta=0.09)
    theirs = torch.optim.SGD(twins, lr=0.05, momentum=0.9)
    for _ in range(4):
        ours.zero_grad()
        ours.backward(*losses(shared, *made))
        ours.step()
        theirs.zero_grad()
        sum(losses(shared, *twins)).backward()  # type: ignore[union-attr]
        theirs.step()
    torch.testing.assert_close(made, twins)


def test_a_clipped_step_has_the_direction_of_the_sum_and_its_length() -> None:
    made = parameters()
    optimizer = DOT(made, lr=1.0)
    task, distillation = losses(*made)
    gradients = torch.autograd.grad(task + distillation, made, retain_graph=True)
    before = [parameter.detach().clone() for parameter in made]
    optimizer.backward(task, distillation)
    optimizer.clip_gradient(0.5)
    optimizer.step()
    moved = torch.cat([old - new for old, new in zip(before, made, strict=True)])
    whole = torch.cat(gradients)
    torch.testing.assert_close(moved, 0.5 * whole / whole.norm(), rtol=1e-5, atol=0)


def test_a_gradient_below_the_bound_is_not_clipped() -> None:
    made = parameters()
    optimizer = DOT(made, lr=1.0)
    optimizer.backward(*losses(*made))
    before = [None if p.grad is None else p.grad.clone() for p in made]
    optimizer.clip_gradient(1e6)
    assert [None if p.grad is None else p.grad.tolist() for p in made] == [
        None if grad is None else grad.tolist() for grad in before
    ]


def test_a_student_steps_by_the_labels_and_by_all_of_its_terms() -> None:
    """Several terms are one distillation gradient, with their weights."""

    def terms() -> dict[str, Any]:
        return {"kl": KL(T=4.0, weight=0.5), "kl2": KL(T=2.0, weight=2.0)}

    student, twin = make_student(optimizer=DOT, terms=terms), make_student(terms=terms)
    optimizer = DOT(twin.model.parameters(), lr=student.optimizer.param_groups[0]["lr"])
    teacher = make_teacher()
    for step, batch in enumerate(make_stream().epoch(0)):
        optimizer.param_groups[0]["lr"] = student.optimizer.param_groups[0]["lr"]
        target = teacher.targets(batch, step)
        student.step(batch, target, step)
        values = twin.objective(twin.forward(batch, step), target, batch).values
        optimizer.zero_grad()
        optimizer.backward(0.5 * values["ce"], 0.5 * values["kl"] + 2.0 * values["kl2"])
        optimizer.step()
    torch.testing.assert_close(list(student.model.parameters()), list(twin.model.parameters()))
    state = student.optimizer.state_dict()["state"][0]
    assert state.keys() == {TASK, DISTILLATION}


@pytest.mark.parametrize(
    "options",
    [{"terms": {}}, {"alpha": 1.0}, {"precision": "bf16"}, {"grad_clip": 1.0}],
    ids=["no terms", "no labels", "bf16", "clipped"],
)
def test_a_student_learns_in_every_way(options: dict[str, Any]) -> None:
    student = make_student(optimizer=DOT, lr=0.01, **options)
    metrics = train([student])
    assert student.failure is None
    assert len(metrics) == EPOCHS
    assert metrics[-1]["train/loss"] < metrics[0]["train/loss"]


def test_students_among_many_equal_a_student_alone() -> None:
    alone, other = make_student(optimizer=DOT), make_student(optimizer=torch.optim.SGD)
    among = make_student(optimizer=DOT)
    train([alone])
    train([other, among])
    assert sha256(among.model) == sha256(alone.model)
    assert sha256(other.model) != sha256(alone.model)


def test_peers_learn_by_it_and_by_a_learned_temperature() -> None:
    def peer(seed: int) -> Student:
        term = CTKD(T_min=1.0, T_range=20.0, loops=2, strength=1000.0, weight=0.5)
        terms: dict[str, Any] = {"ctkd": MultiTeacherLoss([term])}
        return make_student(optimizer=DOT, seed=seed, lr=0.01, terms=terms)

    peers = Peers({"first": peer(0), "second": peer(1)})
    metrics = train([peers])  # type: ignore[list-item]
    assert peers.failure is None
    assert metrics[-1]["train/ce"] < metrics[0]["train/ce"]
    assert metrics[-1]["T/ctkd"] != metrics[0]["T/ctkd"]


def test_onecycle_leaves_both_momenta() -> None:
    optimizer = DOT(parameters(), lr=0.05)
    schedule = OneCycle().build(optimizer, epochs=2, steps_per_epoch=3)
    for _ in range(3):
        optimizer.step()
        schedule.step()
    group = optimizer.param_groups[0]
    momenta = [group["task_momentum"], group["distillation_momentum"]]
    assert momenta == pytest.approx([0.825, 0.975])
    assert group["lr"] != 0.05


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "optimizer.delta=0.2",
            "optimizer.delta must be in [0, momentum] and less than 1 - momentum,"
            " with momentum 0.9, got 0.2",
        ),
        ("optimizer.delta=-0.1", "optimizer.delta must be a finite number >= 0, got -0.1"),
        ("optimizer.momentum=1", "optimizer.momentum must be a number in [0, 1), got 1"),
        ("+optimizer.nesterov=true", "optimizer.nesterov must be one of the options of DOT ("),
    ],
)
def test_options_out_of_range_are_refused(refusal: Refusal, words: str, message: str) -> None:
    assert refusal("optimizer=dot", words).startswith(message)
