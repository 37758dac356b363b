"""The options of a config node, compared with the signature of its `_target_`.

Nothing is constructed, so no data is needed.
"""

import inspect
from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Any

from kdsweep.builders.targets import find_target, unknown_target
from kdsweep.common.suggestions import did_you_mean, nearest_first
from kdsweep.common.validation import shown
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
        return [unknown_target(key, node["_target_"])]
    parameters = parameters_of(target)
    named = options_of(node)
    allowed = [name for name in _keywords(parameters) if name not in given]
    errors = [
        f"{key}.{name} must be one of the options of {target.__name__}"
        f" ({', '.join(nearest_first(name, allowed)) or 'it has none'}), got {name}={shown(value)}"
        f"{did_you_mean(name, allowed, f'{key}.')}"
        for name, value in named.items()
        if name not in allowed and not _takes_any_keyword(parameters)
    ]
    if "_args_" in node:
        return errors
    missing = [name for name in _required(parameters) if name not in {*named, *given}]
    return errors + [f"{key}.{name} must be given" for name in missing]


def options_of(node: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments in a node, without Hydra's own keys such as `_target_`."""
    return {name: value for name, value in node.items() if not name.startswith("_")}


def first_argument(node: Mapping[str, Any], default: str) -> tuple[str, ...]:
    """The name of the first argument of a node's target, which is called with it later."""
    target = find_target(node.get("_target_"))
    named = () if target is None else _keywords(parameters_of(target))
    return (next(iter(named), default),)


@cache
def parameters_of(target: Callable[..., Any]) -> tuple[inspect.Parameter, ...]:
    """The parameters of a class or function, with their types where Python can evaluate them.

    A class that passes `**options` on names who takes them in its attribute `more_options`.
    """
    try:
        signature = inspect.signature(target, eval_str=True)
    except (NameError, AttributeError):  # a type that is imported for type checkers only
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
