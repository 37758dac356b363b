"""Checks of an optimizer and a schedule: steps, and what a resumed run continues with."""

import io
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from kdsweep.builders.optimizers import build_optimizer
from kdsweep.builders.schedules import build_schedule
from kdsweep.sweeps.check import contract
from kdsweep.sweeps.check.contract import Broken, Part
from kdsweep.training.one_device import META

STEPS = 4


def check_optimizer(part: Part) -> None:
    """An optimizer, on a small network."""
    node = dict(part.node)
    if part.made(lambda: build_optimizer(node, _parameters())) is None:
        return
    with part.check(contract.FINITE):
        before, after = _parameters(), _trained(node, STEPS)
        for name, tensor in after.items():
            contract.require_finite(name, tensor)
        if all(torch.equal(p.detach(), after[str(n)]) for n, p in enumerate(before)):
            raise Broken("a step must change the parameters, got the same")
    with part.check(contract.NO_WAITING):
        parameters = [nn.Parameter(p.detach().to(META)) for p in _parameters()]
        optimizer = build_optimizer(node, parameters)
        with contract.on_meta():
            for _ in range(2):
                _step(optimizer, parameters)
    with part.check(contract.DETERMINISTIC):
        contract.require_equal("parameters", _trained(node, STEPS), _trained(node, STEPS))
    with part.check(contract.RESUMES):
        resumed = _trained(node, STEPS, interrupted=STEPS // 2)
        contract.require_equal(
            "parameters of a run that is resumed", _trained(node, STEPS), resumed
        )
    part.check_round_trip(lambda read: build_optimizer(read, _parameters()))


def check_schedule(part: Part, epochs: int) -> None:
    """A schedule, over a whole run with few steps an epoch."""
    node, steps = dict(part.node), epochs * STEPS

    def build(options: dict[str, Any] = node) -> LRScheduler:
        return build_schedule(options, _optimizer(), epochs, STEPS)

    if part.made(build) is None:
        return
    with part.check(contract.FINITE):
        for step, rate in enumerate(_rates(node, epochs)):
            if not (math.isfinite(rate) and rate >= 0):
                raise Broken(f"the learning rate must be a number >= 0, got {rate} in step {step}")
    with part.check(contract.DETERMINISTIC):
        _require_same_rates(_rates(node, epochs), _rates(node, epochs), "a run")
    with part.check(contract.RESUMES):
        resumed = _rates(node, epochs, interrupted=steps // 2)
        _require_same_rates(_rates(node, epochs), resumed, "a run that is resumed")
    part.check_round_trip(build)


def _rates(node: dict[str, Any], epochs: int, interrupted: int | None = None) -> list[float]:
    """The learning rate of every step; after some of them all is written and read again."""
    optimizer, rates = _optimizer(), []
    schedule = build_schedule(node, optimizer, epochs, STEPS)
    for step in range(epochs * STEPS):
        if step == interrupted:
            states = [_through_a_file(part.state_dict()) for part in (optimizer, schedule)]
            optimizer = _optimizer()
            schedule = build_schedule(node, optimizer, epochs, STEPS)
            optimizer.load_state_dict(states[0])
            schedule.load_state_dict(states[1])
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        schedule.step()
    return rates


def _require_same_rates(first: list[float], second: list[float], what: str) -> None:
    for step, rates in enumerate(zip(first, second, strict=True)):
        if rates[0] != rates[1]:
            raise Broken(
                f"the learning rates of {what} must be the same, got {rates[1]:g} in step {step}"
                f" where it was {rates[0]:g}"
            )


def _optimizer() -> Optimizer:
    return torch.optim.SGD(_parameters(), lr=0.1, momentum=0.9)


def _parameters() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(*shape, generator=generator)) for shape in ((4, 3), (4,))]


def _step(optimizer: Optimizer, parameters: list[nn.Parameter]) -> None:
    optimizer.zero_grad(set_to_none=True)
    torch.stack([(p * p).sum() for p in parameters]).sum().backward()
    optimizer.step()


def _trained(node: dict[str, Any], steps: int, interrupted: int = 0) -> dict[str, Tensor]:
    """The parameters after so many steps; after some of them all is written and read again."""
    parameters = _parameters()
    optimizer = build_optimizer(node, parameters)
    for step in range(steps):
        if interrupted and step == interrupted:
            state = _through_a_file(optimizer.state_dict())
            parameters = [nn.Parameter(p.detach().clone()) for p in parameters]
            optimizer = build_optimizer(node, parameters)
            optimizer.load_state_dict(state)
        _step(optimizer, parameters)
    return {str(number): p.detach() for number, p in enumerate(parameters)}


def _through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    """As a checkpoint holds it, which is never unpickled."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    loaded: dict[str, Any] = torch.load(buffer, weights_only=True)
    return loaded
