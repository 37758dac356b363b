"""What is found of each part: which checks it passes, and why it fails others."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
import yaml
from torch import Tensor

from kdsweep.builders.own_source import own_sources
from kdsweep.builders.targets import error_and_place, place_of
from kdsweep.common.text import one_line
from kdsweep.errors import UserError
from kdsweep.training.one_device import OneDevice, without_autocast

Value = TypeVar("Value")

BUILDS, SHAPES, FINITE, GRADIENT = "builds", "shapes", "finite", "gradient"
NO_WAITING, DETERMINISTIC, ROUND_TRIP = "no waiting", "deterministic", "config round trip"
FEATURES, RESUMES, LOCKSTEP = "features", "resumes", "lockstep"


class Broken(Exception):
    """A part does not keep its contract; the message has what it must do, and what it does."""


class Check(NamedTuple):
    """One check of a part; ``fault`` is None if it passes."""

    key: str  # of the part in the config
    target: str  # what it is made of
    name: str
    fault: str | None


class Part:
    """A part of a config, and what its checks have found."""

    def __init__(self, key: str, node: Mapping[str, Any], checks: list[Check]) -> None:
        self.key, self.node, self._checks = key, node, checks

    @contextmanager
    def check(self, name: str) -> Iterator[None]:
        """The check in the block; whatever is raised in it is its fault."""
        try:
            yield
            fault = None
        except (UserError, Broken) as error:
            fault = one_line(error)
        except ValueError as error:
            fault = f"{one_line(error)}{place_of(error)}"
        except Exception as error:
            fault = error_and_place(error)
        self.note(name, fault)

    def note(self, name: str, fault: str | None) -> None:
        """Note that a check passes, or why it fails."""
        self._checks.append(Check(self.key, str(self.node.get("_target_")), name, fault))

    def made(self, make: Callable[[], Value], name: str = BUILDS) -> Value | None:
        """What is made; None, and a failed check, if it cannot be."""
        made: list[Value] = []
        with self.check(name):
            made.append(make())
        return made[0] if made else None

    def check_round_trip(self, make: Callable[[dict[str, Any]], object]) -> None:
        """Whether the part can be made of its config as the folder of a run has it."""
        with self.check(ROUND_TRIP):
            text = yaml.safe_dump(dict(self.node), sort_keys=False, allow_unicode=True)
            read = yaml.safe_load(text)
            if json.dumps(read) != json.dumps(self.node):
                raise Broken("the options must be plain values, which yaml gives back as they are")
            make(read)
            own_sources(read)


@contextmanager
def on_meta() -> Iterator[None]:
    """Steps on torch's device without values: what would wait for an accelerator raises."""
    seen = OneDevice()
    try:
        with without_autocast(), seen:
            yield
    except (RuntimeError, AssertionError) as error:
        raise Broken(f"a step must read no value of a tensor: {error_and_place(error)}") from error
    for names, what in (
        (seen.waiting, "that an accelerator waits for"),
        (seen.nondeterministic, "without a deterministic kernel on CUDA"),
    ):
        if names:
            raise Broken(f"a step must have no operation {what}, got {', '.join(names)}")


def require_finite(name: str, tensor: Tensor) -> None:
    """Raises Broken for a tensor with a number that is not finite."""
    if not bool(tensor.isfinite().all()):
        raise Broken(f"{name} must be finite, got {int((~tensor.isfinite()).sum())} that are not")


def require_equal(what: str, first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> None:
    """Raises Broken unless tensors have the same names and the same bits."""
    if first.keys() != second.keys():
        raise Broken(f"{what} must be the same twice, got others the second time")
    unequal = [name for name in first if not torch.equal(first[name], second[name])]
    if unequal:
        others = f" and {len(unequal) - 1} more" if len(unequal) > 1 else ""
        raise Broken(
            f"{what} must be the same twice, bit for bit, got another {unequal[0]}{others}"
        )
