"""The options of `hydra/launcher=lockstep_ray`, as checked values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kdsweep.common.validation import is_finite_number, is_integer, shown
from kdsweep.errors import CollectedErrors


@dataclass(frozen=True, kw_only=True)
class RayOptions:
    """The cluster, and what a unit takes of it.

    Attributes:
        address: `auto` or that of a running cluster; None for one that is started on this machine.
        cpus: cores of a unit; None for as many as its runs have threads.
        memory_gib: that Ray reserves for a unit; None for nothing.
        resources: of the cluster's own, by name.
    """

    address: str | None = None
    cpus: int | None = None
    gpus: float = 0.0
    memory_gib: float | None = None
    resources: Mapping[str, float] = field(default_factory=dict)


def ray_options(node: Mapping[str, Any]) -> RayOptions:
    """The options of a `hydra.launcher` node. Raises UserError with a line per bad value."""
    errors = CollectedErrors()

    def check(is_right: bool, key: str, allowed: str) -> None:
        if not is_right:
            text = f"hydra.launcher.{key} must be {allowed}, got {shown(node[key])}"
            errors.messages.append(text)

    address, cpus, gpus, memory = (node[k] for k in ("address", "cpus", "gpus", "memory_gib"))
    is_text = isinstance(address, str) and bool(address)
    check(address is None or is_text, "address", "null, auto or an address like 10.0.0.1:6379")
    is_count = is_integer(cpus) and cpus >= 1
    check(cpus is None or is_count, "cpus", "null or an integer of at least 1")
    check(
        gpus is None or _is_part(gpus), "gpus", "null, a part of a GPU from 0 to 1, or an integer"
    )
    is_size = is_finite_number(memory) and memory > 0
    check(memory is None or is_size, "memory_gib", "null or a number > 0")
    amounts = node["resources"].values()
    are_amounts = all(is_finite_number(one) and one > 0 for one in amounts)
    check(are_amounts, "resources", "names with numbers > 0")
    errors.raise_if_any()
    return RayOptions(
        address=address,
        cpus=cpus,
        gpus=gpus or 0.0,
        memory_gib=memory,
        resources=dict(node["resources"]),
    )


def _is_part(gpus: object) -> bool:
    """Whether Ray can give a unit so many GPUs: above one, whole ones only."""
    return is_finite_number(gpus) and gpus >= 0 and (gpus <= 1 or float(gpus).is_integer())
