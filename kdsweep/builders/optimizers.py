"""A run's optimizer."""

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from kdsweep.builders.instantiate import instantiate_node, naming_key, refusal_of
from kdsweep.builders.option_types import type_errors
from kdsweep.builders.options import first_argument, option_errors, options_of
from kdsweep.builders.schedules import build_schedule
from kdsweep.builders.targets import find_target
from kdsweep.common.validation import as_typed
from kdsweep.config.limits import MOST
from kdsweep.config.run_config import RunConfig
from kdsweep.errors import CollectedErrors, UserError
from kdsweep.training.parameter_groups import SCALE

# What optimizers of torch raise for a value that they do not take.
REFUSALS = (ValueError, TypeError, IndexError, RuntimeError)


def build_optimizer(
    node: dict[str, Any], trained: Sequence[nn.Parameter] | Sequence[dict[str, Any]]
) -> Optimizer:
    """The optimizer of parameters or `parameter_groups`.

    Raises UserError, naming the option it does not take.
    """
    given = first_argument(node, "params")
    # Some of torch's optimizers take values of any type.
    if errors := option_errors(node, "optimizer", given) or type_errors(node, "optimizer"):
        raise UserError("\n".join(errors))
    if (partial := node.get("_partial_")) is not True:
        raise UserError(f"optimizer._partial_ must be true, got {as_typed(partial)}")
    recipe = instantiate_node(node, "optimizer", _later=given)
    with naming_key("optimizer", node):
        try:
            optimizer = recipe(trained)
        except REFUSALS as error:
            raise UserError(_refusal(node, error)) from error
    if not isinstance(optimizer, Optimizer):
        raise UserError(
            f"optimizer._target_ must be an optimizer, got {as_typed(node['_target_'])}"
        )
    for group in optimizer.param_groups:
        if SCALE in group:
            group["lr"] *= group[SCALE]
    return optimizer


def refuse_optimizer(config: RunConfig) -> None:
    """Raise UserError if a run's optimizer or schedule cannot be built for any network."""
    errors = CollectedErrors()
    optimizer: Optimizer = torch.optim.SGD(_one_parameter(), lr=0.1)
    with errors.of():
        optimizer = build_optimizer(config.optimizer, _one_parameter())
    epochs = config.trainer.epochs if 1 <= config.trainer.epochs <= MOST["epochs"] else 1000
    with errors.of():
        build_schedule(config.schedule, optimizer, epochs, steps_per_epoch=100)
    errors.raise_if_any()


def _one_parameter() -> list[nn.Parameter]:
    return [nn.Parameter(torch.zeros(1))]


def _refusal(node: dict[str, Any], error: Exception) -> str:
    """A message for the option without which there is an optimizer, else for each wrong one.

    An error of torch names a value, `Invalid beta parameter at index 0`, and no option.
    """
    target = find_target(node["_target_"])
    assert target is not None, "it has been called"
    options = options_of(node)
    if str(error).partition(" ")[0] in options:  # of our own optimizers, and in our form
        return refusal_of(node, "optimizer", error)

    def reason(given: Collection[str]) -> str | None:
        """Why there is no optimizer with some of the options; None if there is one."""
        try:
            target(_one_parameter(), **{name: options[name] for name in given})
        except REFUSALS as refused:
            return " ".join(str(refused).split())
        return None

    if reason(options) is None:  # it fails on the parameters there are
        return refusal_of(node, "optimizer", error)
    wrong = [name for name in options if reason(options.keys() - {name}) is None]
    refused = {name: reason(options) for name in wrong[:1]}
    refused = refused or {name: reason([name]) for name in options}
    messages = [
        f"optimizer.{name} must be a value that {target.__name__} takes,"
        f" got {as_typed(options[name])}: {why}"
        for name, why in refused.items()
        if why is not None
    ]
    return "\n".join(messages) or refusal_of(node, "optimizer", error)
