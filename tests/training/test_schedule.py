"""Learning-rate curves, step by step."""

import math

import pytest
import torch
from torch.optim import SGD, AdamW, Optimizer

from kdsweep.training.schedule import Constant, Cosine, MultiStep, OneCycle, Schedule

EPOCHS, STEPS = 10, 4


def optimizer() -> Optimizer:
    return SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5, momentum=0.9)


def rates(schedule: Schedule) -> list[float]:
    """The learning rate of every step."""
    own = optimizer()
    scheduler = schedule.build(own, epochs=EPOCHS, steps_per_epoch=STEPS)
    seen = []
    for _ in range(EPOCHS * STEPS):
        seen.append(own.param_groups[0]["lr"])
        own.step()
        scheduler.step()
    return seen


def test_constant_stays() -> None:
    assert rates(Constant()) == [0.5] * 40


def test_multistep_falls_when_its_epochs_are_trained() -> None:
    seen = rates(MultiStep(milestones=[3, 6], gamma=0.1))
    assert seen[:12] == [0.5] * 12
    assert seen[12:24] == pytest.approx([0.05] * 12)
    assert seen[24:] == pytest.approx([0.005] * 16)


def test_cosine_is_half_a_cosine() -> None:
    expected = [0.25 * (1 + math.cos(math.pi * step / 40)) for step in range(40)]
    assert rates(Cosine()) == pytest.approx(expected)


def test_onecycle_rises_to_the_rate_and_ends_near_zero() -> None:
    seen = rates(OneCycle(pct_start=0.3))
    assert max(seen) == pytest.approx(0.5, rel=0.02)
    assert seen[0] == pytest.approx(0.02)
    assert seen[-1] < 0.002
    assert seen.index(max(seen)) in (11, 12, 13)


@pytest.mark.parametrize(
    "schedule",
    [
        Constant(warmup_epochs=2),
        MultiStep(milestones=[5], warmup_epochs=2),
        Cosine(warmup_epochs=2),
    ],
)
def test_warmup_rises_linearly_to_the_rate(schedule: Schedule) -> None:
    seen = rates(schedule)
    assert seen[:8] == pytest.approx([0.5 * (1 + 8 * step / 8) / 9 for step in range(8)])
    assert seen[8] == pytest.approx(0.5)


def test_milestones_count_the_warmup_epochs() -> None:
    seen = rates(MultiStep(milestones=[5], warmup_epochs=2))
    assert seen[19] == pytest.approx(0.5)
    assert seen[20] == pytest.approx(0.05)


def test_onecycle_leads_on_from_its_warmup() -> None:
    seen = rates(OneCycle(warmup_epochs=2))
    assert seen[0] < seen[7] < seen[8] == pytest.approx(0.02)
    assert max(seen) == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize(
    "schedule",
    [Constant(), MultiStep(milestones=[2]), Cosine(), OneCycle(), Cosine(warmup_epochs=3)],
)
def test_a_restored_state_continues_with_the_same_rates(schedule: Schedule) -> None:
    whole = rates(schedule)
    first = optimizer()
    scheduler = schedule.build(first, epochs=EPOCHS, steps_per_epoch=STEPS)
    for _ in range(15):
        first.step()
        scheduler.step()
    second = optimizer()
    resumed = schedule.build(second, epochs=EPOCHS, steps_per_epoch=STEPS)
    second.load_state_dict(first.state_dict())
    resumed.load_state_dict(scheduler.state_dict())
    seen = []
    for _ in range(25):
        seen.append(second.param_groups[0]["lr"])
        second.step()
        resumed.step()
    assert seen == whole[15:]


def test_onecycle_cycles_the_momentum_of_adamw() -> None:
    own = AdamW([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    OneCycle().build(own, epochs=EPOCHS, steps_per_epoch=STEPS)
    assert own.param_groups[0]["betas"][0] == pytest.approx(0.95)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Constant(warmup_epochs=-1), "warmup_epochs must be a whole number >= 0, got -1"),
        (lambda: MultiStep(milestones=[5, 5]), "milestones must be rising epochs"),
        (lambda: MultiStep(milestones=[5], gamma=2.0), "gamma must be in"),
        (lambda: OneCycle(pct_start=1.0), "pct_start must be in"),
        (
            lambda: Cosine(warmup_epochs=10).build(optimizer(), epochs=10, steps_per_epoch=1),
            "warmup_epochs must be less than trainer.epochs=10, got 10",
        ),
    ],
)
def test_values_out_of_range_are_named(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]
