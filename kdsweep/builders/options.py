"""The options of a config node, compared with the signature of its `_target_`.

Nothing is constructed, so no data is needed.
"""

import inspect
import pkgutil
from collections.abc import Callable, Collection, Mapping
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from kdsweep.common.suggestions import did_you_mean, nearest_first
from kdsweep.common.validation import as_typed, shown
from kdsweep.config.schema import EXECUTION_WHITELIST
from kdsweep.config.targets import target_fault

ANY_KEYWORD, ANY_POSITION = inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL


def option_errors(node: Any, key: str, given: Collection[str] = ()) -> list[str]:
    """A message for every option that the target of a node lacks, or that it requires.

    Args:
        key: of the node in the config.
        given: the arguments that kdsweep passes itself.
    """
    if (fault := target_fault(node, key)) is not None:
        return [fault]
    target = find_target(node["_target_"])
    if target is None:
        return [_unknown_target(key, node["_target_"])]
    parameters = parameters_of(target)
    named = options_of(node)
    allowed = [name for name in _keywords(parameters) if name not in given]
    found = [
        f"{key}.{name} must be one of the options of {target.__name__}"
        f" ({', '.join(nearest_first(name, allowed)) or 'it has none'}), got {name}={shown(value)}"
        f"{did_you_mean(name, allowed, f'{key}.')}"
        for name, value in named.items()
        if name not in allowed and not _takes_any_keyword(parameters)
    ]
    if "_args_" in node:
        return found
    missing = [name for name in _required(parameters) if name not in {*named, *given}]
    return found + [f"{key}.{name} must be given" for name in missing]


def options_of(node: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments in a node, without Hydra's own keys such as `_target_`."""
    return {name: value for name, value in node.items() if not name.startswith("_")}


def find_target(path: object) -> Callable[..., Any] | None:
    """The class or function at an import path; None unless a config may name it and it exists."""
    if not isinstance(path, str):
        return None
    if not any(fnmatchcase(path, allowed) for allowed in EXECUTION_WHITELIST):
        return None
    try:
        found = pkgutil.resolve_name(path)
    except (ImportError, AttributeError, ValueError):
        return None
    return found if callable(found) else None


@cache
def parameters_of(target: Callable[..., Any]) -> tuple[inspect.Parameter, ...]:
    """The parameters of a class or function, with their types where Python can evaluate them.

    A class that passes `**options` on names who takes them in its attribute `more_options`.
    """
    try:
        signature = inspect.signature(target, eval_str=True)
    except NameError:  # a type that is imported for type checkers only
        signature = inspect.signature(target)
    except ValueError:  # a built-in one
        return (inspect.Parameter("any", ANY_KEYWORD),)
    own = tuple(signature.parameters.values())
    if (takes_more := getattr(target, "more_options", None)) is None:
        return own
    return (*(p for p in own if p.kind is not ANY_KEYWORD), *parameters_of(takes_more))


def _keywords(parameters: Collection[inspect.Parameter]) -> list[str]:
    """The names that an option may have."""
    by_position = inspect.Parameter.POSITIONAL_ONLY
    kinds = (ANY_KEYWORD, ANY_POSITION, by_position)
    return [parameter.name for parameter in parameters if parameter.kind not in kinds]


def _required(parameters: Collection[inspect.Parameter]) -> list[str]:
    named = set(_keywords(parameters))
    empty = inspect.Parameter.empty
    return [p.name for p in parameters if p.name in named and p.default is empty]


def _takes_any_keyword(parameters: Collection[inspect.Parameter]) -> bool:
    return any(parameter.kind is ANY_KEYWORD for parameter in parameters)


def _unknown_target(key: str, path: object) -> str:
    allowed = " or ".join(EXECUTION_WHITELIST)
    return (
        f"{key}._target_ must be the path of a class or function, {allowed}, got {as_typed(path)}"
        f"{_nearest_target(str(path))}"
    )


def _nearest_target(path: str) -> str:
    """A suggestion from the module of a path, if that exists and the name in it does not."""
    module, _, name = path.rpartition(".")
    if not any(fnmatchcase(path, allowed) for allowed in EXECUTION_WHITELIST):
        return ""
    try:
        names = [
            name for name, value in vars(pkgutil.resolve_name(module)).items() if callable(value)
        ]
    except (ImportError, AttributeError, ValueError, TypeError):
        return ""
    return did_you_mean(name, names, f"{module}.")
