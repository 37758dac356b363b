"""Classes and functions of the user's as options of config groups: `student=TinyNet`."""

from collections.abc import Callable
from functools import partial
from inspect import signature
from types import NoneType
from typing import Any

from hydra.core.config_store import ConfigStore

from kdsweep.errors import UserError

PLAIN = (bool, int, float, str, NoneType)  # Python types of values in a config


def _student(name: str, target: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "model": target}


def _loss(name: str, target: dict[str, Any]) -> dict[str, Any]:
    return {name: {**target, "weight": "${alpha}", "schedule": None}}


def _dataset(name: str, target: dict[str, Any]) -> dict[str, Any]:
    own = {"name": name, "source": target, "test_fraction": None, "classes": None}
    return {"defaults": ["digits", "_self_"], **own}  # the other keys, as in conf/dataset


NODES: dict[str, Callable[[str, dict[str, Any]], dict[str, Any]]] = {
    "student": _student,
    "loss": _loss,
    "dataset": _dataset,
}


def is_object(value: Any) -> bool:
    """Whether a value is a part of the user's: a class, a function, or one with arguments."""
    return isinstance(value, partial) or (callable(value) and hasattr(value, "__qualname__"))


def store_option(key: str, value: Any) -> tuple[str, str]:
    """Make an object an option of its group; returns the option's name and the object's module.

    Args:
        key: `student`, `loss` or `dataset`.
        value: a class or a function of a module. Its arguments with a default, and those that
            `functools.partial` gives it, are keys of the config: `student.model.width=[8, 16]`.

    Raises UserError for an object that other processes cannot import.
    """
    if key not in NODES:
        groups = ", ".join(NODES)
        raise UserError(f"{key} must be a value, got {value!r}; objects are given for {groups}")
    made, given = value, dict[str, Any]()
    if isinstance(value, partial):
        if value.args:
            raise UserError(f"{key} must name its arguments, got {value!r}")
        made, given = value.func, dict(value.keywords)
    module, path = made.__module__, made.__qualname__
    if module == "__main__" or "<" in path:
        raise UserError(
            f"{key} must be a class or a function at the top of a module that can be imported, got"
            f" {module}.{path}; a run is resumed and loaded in other processes, so write it to a"
            " file (in a notebook: %%writefile mynet.py) and import it from there"
        )
    target = {"_target_": f"{module}.{path}", **_defaults(made), **given}
    option = f"{module}.{path}".replace(".", "_")  # no option of kdsweep's has such a name
    node = NODES[key](made.__name__.lower(), target)
    ConfigStore.instance().store(group=key, name=option, node=node, provider="kdsweep")
    return option, module.partition(".")[0]


def _defaults(made: Callable[..., Any]) -> dict[str, Any]:
    """The arguments of a class or function that have a default which a config can hold."""
    arguments = signature(made).parameters.values()
    return {one.name: one.default for one in arguments if isinstance(one.default, PLAIN)}
