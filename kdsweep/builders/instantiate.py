"""Objects from config nodes; messages about bad options begin with the config key."""

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from kdsweep.builders.option_types import type_errors
from kdsweep.builders.options import find_target, option_errors, options_of
from kdsweep.common.validation import shown
from kdsweep.config.schema import EXECUTION_WHITELIST
from kdsweep.errors import UserError
from kdsweep.training.memory import is_out_of_memory

# What a constructor raises for a value of a type that it does not expect.
BY_TYPE = TypeError | AttributeError | IndexError | KeyError


def instantiate_node(
    node: dict[str, Any],
    key: str,
    *,
    _allowed: Sequence[str] = EXECUTION_WHITELIST,
    **kwargs: Any,
) -> Any:
    """The object that a config node describes. A UserError begins with the config key.

    ``_allowed``: what it may be made of, no more than EXECUTION_WHITELIST.
    """
    later = ("params",) if node.get("_partial_") is True else ()  # of an optimizer
    if errors := option_errors(node, key, (*kwargs, *later)):
        raise UserError("\n".join(errors))
    try:
        if _is_plain(node, _allowed):
            return _make(node, kwargs)
        # With `_convert_` as an argument Hydra would copy the node, and take a fifth longer.
        whole = {**node, "_convert_": "all"}
        return instantiate(whole, **kwargs, _execution_whitelist_=tuple(_allowed))
    except Exception as error:
        cause = (error.__cause__ or error) if isinstance(error, InstantiationException) else error
        if is_out_of_memory(cause):
            raise UserError(f"{key} must fit into memory, got {shown(node)}") from error
        if isinstance(error, InstantiationException | ValueError | OSError | BY_TYPE):
            raise UserError(refusal_of(node, key, cause)) from error
        raise


def _is_plain(node: dict[str, Any], allowed: Sequence[str]) -> bool:
    """Whether a node has plain values, no instructions for Hydra, and an allowed target.

    Its target must be allowed by the name where it is defined, too: a module that is allowed has
    names of others, such as `os`.
    """
    own = {name for name in node if name.startswith("_")}
    if own - {"_target_", "_partial_"} or not all(map(_is_scalar, options_of(node).values())):
        return False
    target = find_target(node["_target_"])
    defined = f"{getattr(target, '__module__', '')}.{getattr(target, '__qualname__', '')}"
    names = (node["_target_"], defined)
    return all(any(fnmatchcase(name, pattern) for pattern in allowed) for name in names)


def _is_scalar(value: object) -> bool:
    if isinstance(value, str):
        return "${" not in value  # which Hydra refuses
    return value is None or isinstance(value, bool | int | float)


def _make(node: dict[str, Any], kwargs: dict[str, Any]) -> Any:
    """What Hydra makes of a plain node, without the configs that it makes on the way.

    They take longer than the constructors of most parts. Raises InstantiationException, as Hydra.
    """
    target = find_target(node["_target_"])
    assert target is not None, "its options have been compared with it"
    make = partial(target, **options_of(node), **kwargs)
    if node.get("_partial_") is True:
        return make
    try:
        return make()
    except Exception as error:
        raise InstantiationException(str(error)) from error


def refusal_of(node: dict[str, Any], key: str, error: BaseException) -> str:
    """What is wrong with the options of a node that a constructor has failed on."""
    if isinstance(error, BY_TYPE) and (errors := type_errors(node, key)):
        return "\n".join(errors)
    return with_key(key, error, node)


def with_key(key: str, error: BaseException, options: Collection[str] = ()) -> str:
    """The message of an error in one line, beginning with a config key.

    A constructor does not know where in the config its ``options`` are: `width must be` becomes
    `student.model.width must be`.
    """
    text = " ".join(str(error).split("\nfull_key")[0].split())
    if text.startswith((key, f"{key.partition('.')[0]}.")):
        return text
    text = text.removeprefix(f"{key.rpartition('.')[2]}.")
    word = re.match(r"\w*", text)
    if word is not None and word[0] in options:
        return f"{key}.{text}"
    return f"{key} {text}" if text.startswith("must be ") else f"{key}: {text}"


@contextmanager
def naming_key(key: str, options: Collection[str] = ()) -> Iterator[None]:
    """Raise UserError, with the config key, for what a constructor inside refuses."""
    try:
        yield
    except (ValueError, TypeError, OSError) as error:
        raise UserError(with_key(key, error, options)) from error
