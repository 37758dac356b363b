"""A run's learning-rate schedule: one of kdsweep, of torch or of the user's own."""

from inspect import isclass
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from kdsweep.builders.instantiate import instantiate_node, naming_key, refusal_of
from kdsweep.builders.options import first_argument, parameters_of
from kdsweep.builders.targets import find_target
from kdsweep.common.validation import as_typed, check_option
from kdsweep.errors import UserError
from kdsweep.training.schedule import OncePerEpoch, Schedule

INTERVAL = "interval"  # of a class of torch: when its `step` is called
EPOCH, STEP = "epoch", "step"


def build_schedule(
    node: dict[str, Any], optimizer: Optimizer, epochs: int, steps_per_epoch: int
) -> LRScheduler:
    """The schedule of an optimizer's learning rate, to be stepped with the optimizer.

    Raises UserError for options out of range.
    """
    if _is_of_torch(find_target(node.get("_target_"))):
        return _of_torch(node, optimizer, epochs, steps_per_epoch)
    schedule = instantiate_node(node, "schedule")
    if not isinstance(schedule, Schedule):
        raise UserError(f"schedule._target_ must be a schedule, got {as_typed(node['_target_'])}")
    with naming_key("schedule", node):
        return schedule.build(optimizer, epochs=epochs, steps_per_epoch=steps_per_epoch)


def schedule_options(node: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The node without the option that kdsweep reads, and the arguments that it gives.

    ``interval``, `epoch` or `step`, is of torch's classes only. Their `epochs` and
    `steps_per_epoch` follow from the run.
    """
    target: Any = find_target(node.get("_target_"))
    if not _is_of_torch(target):
        return node, ()
    named = {parameter.name for parameter in parameters_of(target)}
    given = [name for name in ("epochs", "steps_per_epoch") if name in named - node.keys()]
    own = {key: value for key, value in node.items() if key != INTERVAL}
    return own, (*first_argument(node, "optimizer"), *given)


def _is_of_torch(target: Any) -> bool:
    return isclass(target) and issubclass(target, LRScheduler)


def _of_torch(
    node: dict[str, Any], optimizer: Optimizer, epochs: int, steps_per_epoch: int
) -> LRScheduler:
    """A scheduler of torch's kind. By default it moves once an epoch, as its arguments count.

    One that is given the number of steps of an epoch, such as OneCycleLR, moves with every step.
    """
    target: Any = find_target(node["_target_"])
    if issubclass(target, ReduceLROnPlateau):
        raise UserError(
            "schedule._target_ must be a schedule that needs no metric, got"
            f" {as_typed(node['_target_'])}"
        )
    options, later = schedule_options(node)
    interval = node.get(INTERVAL, STEP if "steps_per_epoch" in later else EPOCH)
    with naming_key("schedule", {INTERVAL}):
        check_option(INTERVAL, interval, (EPOCH, STEP))
    follows = {"epochs": epochs, "steps_per_epoch": steps_per_epoch if interval == STEP else 1}
    given: dict[str, Any] = {name: value for name, value in follows.items() if name in later}
    recipe = instantiate_node({**options, "_partial_": True}, "schedule", _later=later, **given)
    try:
        scheduler: LRScheduler = recipe(optimizer)
    except Exception as error:  # of torch, too, for values of any kind
        raise UserError(refusal_of(node, "schedule", error)) from error
    return scheduler if interval == STEP else OncePerEpoch(scheduler, steps_per_epoch)
