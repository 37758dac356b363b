"""Schedules of torch by their classes, next to those of kdsweep."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

from kdsweep.builders.schedules import build_schedule
from kdsweep.errors import UserError
from kdsweep.training.schedule import OncePerEpoch

EPOCHS, STEPS = 4, 3


def node(name: str, **options: Any) -> dict[str, Any]:
    return {"_target_": f"torch.optim.lr_scheduler.{name}", **options}


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)


def rates(options: dict[str, Any]) -> list[float]:
    """The learning rate of every step."""
    made = optimizer()
    schedule, found = build_schedule(options, made, EPOCHS, STEPS), []
    for _ in range(EPOCHS * STEPS):
        found.append(made.param_groups[0]["lr"])
        made.step()
        schedule.step()
    return found


def test_a_schedule_of_torch_moves_once_an_epoch() -> None:
    expected = [1.0] * 2 * STEPS + [0.5] * 2 * STEPS
    assert rates(node("StepLR", step_size=2, gamma=0.5)) == expected
    assert rates(node("StepLR", step_size=2, gamma=0.5, _partial_=True)) == expected


def test_it_moves_after_every_batch_if_it_is_to() -> None:
    found = rates(node("ExponentialLR", gamma=0.5, interval="step"))
    assert found == [0.5**step for step in range(EPOCHS * STEPS)]


def test_one_that_is_given_the_steps_of_an_epoch_moves_with_each() -> None:
    found = rates(node("OneCycleLR", max_lr=1.0, cycle_momentum=False))
    assert len(set(found)) == len(found)
    assert max(found) > 0.9
    assert found[-1] < 0.05
    by_epoch = rates(node("OneCycleLR", max_lr=1.0, cycle_momentum=False, interval="epoch"))
    assert len(set(by_epoch)) == EPOCHS


def test_a_resumed_one_continues() -> None:
    options = node("CosineAnnealingLR", T_max=EPOCHS)

    def made() -> tuple[torch.optim.Optimizer, LRScheduler]:
        made = optimizer()
        return made, build_schedule(options, made, EPOCHS, STEPS)

    first, schedule = made()
    for _ in range(STEPS + 1):
        first.step()
        schedule.step()
    second, resumed = made()
    second.load_state_dict(first.state_dict())
    resumed.load_state_dict(schedule.state_dict())
    assert isinstance(resumed, OncePerEpoch)
    assert isinstance(resumed.scheduler, CosineAnnealingLR)
    for _ in range(2 * STEPS):
        for one, other in ((first, schedule), (second, resumed)):
            one.step()
            other.step()
        assert schedule.get_last_lr() == resumed.get_last_lr()
    assert second.param_groups[0]["lr"] == first.param_groups[0]["lr"] < 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            node("ReduceLROnPlateau"),
            "schedule._target_ must be a schedule that needs no metric, got"
            " torch.optim.lr_scheduler.ReduceLROnPlateau",
        ),
        (node("StepLR"), "schedule.step_size must be given"),
        (
            node("StepLR", step_size=2, interval="batch"),
            "schedule.interval must be one of epoch, step, got batch",
        ),
        (node("StepLR", step_size=2, optimizer=3), "schedule.optimizer must be one of the options"),
        (node("OneCycleLR", max_lr=1.0, pct_start=3), "Expected float between 0 and 1 pct_start"),
        (
            {"_target_": "kdsweep.losses.kl.KL", "T": 4.0, "weight": 1.0},
            "schedule._target_ must be a schedule, got kdsweep.losses.kl.KL",
        ),
    ],
)
def test_what_is_wrong_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as refused:
        rates(options)
    assert message in str(refused.value)
    assert str(refused.value).startswith("schedule")
