"""Objects from config nodes; messages about bad options begin with the config key."""

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import lru_cache, partial
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from kdsweep.builders.option_types import type_errors
from kdsweep.builders.options import option_errors
from kdsweep.builders.targets import error_and_place
from kdsweep.common.validation import shown
from kdsweep.config.allow import execution_whitelist, is_own
from kdsweep.errors import UserError
from kdsweep.training.memory import is_out_of_memory

# What a constructor raises for a value of a type that it does not expect.
BY_TYPE = TypeError | AttributeError | IndexError | KeyError


def instantiate_node(
    node: dict[str, Any],
    key: str,
    *,
    _allowed: Sequence[str] | None = None,
    _later: Collection[str] = (),
    **kwargs: Any,
) -> Any:
    """The object that a config node describes. A UserError begins with the config key.

    Args:
        _allowed: what it may be made of, no more than `execution_whitelist`, which is the default.
        _later: the arguments of a partial that it will be called with.
    """
    if errors := option_errors(node, key, (*kwargs, *_later)):
        raise UserError("\n".join(errors))
    # With `_convert_` as an argument Hydra would copy the node, and take a fifth longer.
    whole = {**node, "_convert_": "all"}
    allowed = execution_whitelist() if _allowed is None else tuple(_allowed)
    is_of_user = is_own(node)
    try:
        if not is_of_user and _is_plain(node):
            return _made(node, kwargs, allowed)
        if not is_of_user or node.get("_partial_") is True:
            return instantiate(whole, **kwargs, _execution_whitelist_=allowed)
        # Hydra would refuse a network of a library's class, which a function of the user's returns.
        made = instantiate({**whole, "_partial_": True}, **kwargs, _execution_whitelist_=allowed)
        return made.func(*made.args, **made.keywords)
    except Exception as error:
        cause = (error.__cause__ or error) if isinstance(error, InstantiationException) else error
        if is_out_of_memory(cause):
            raise UserError(f"{key} must fit into memory, got {shown(node)}") from error
        if is_of_user or isinstance(error, InstantiationException | ValueError | OSError | BY_TYPE):
            raise UserError(refusal_of(node, key, cause)) from error
        raise


def _is_plain(node: dict[str, Any]) -> bool:
    """Whether a node has nothing for Hydra to make or resolve but the object itself."""
    options = {key: value for key, value in node.items() if key not in ("_target_", "_partial_")}
    text = repr(options)
    is_named = not any(str(key).startswith("_") for key in options)
    has_parts = any(mark in text for mark in ("_target_", "${", "???"))
    return is_named and not has_parts and isinstance(node.get("_partial_", False), bool)


def _made(node: dict[str, Any], given: dict[str, Any], allowed: tuple[str, ...]) -> Any:
    """The object of a plain node, as `instantiate` makes it.

    That makes a config of the node first, which takes ten times as long as the object: a sweep of
    hundreds of runs makes thousands.
    """
    options = {**deepcopy(node), **given}  # no object shares a list with the config
    recipe = _recipe(options.pop("_target_"), allowed)
    is_partial = options.pop("_partial_", False)
    return partial(recipe, **options) if is_partial else recipe(**options)


@lru_cache(maxsize=512)
def _recipe(target: str, allowed: tuple[str, ...]) -> Callable[..., Any]:
    """A class or a function that a config may name; Hydra checks each of its calls, too."""
    recipe: Callable[..., Any] = instantiate(
        {"_target_": target, "_partial_": True}, _execution_whitelist_=allowed
    )
    return recipe


def refusal_of(node: dict[str, Any], key: str, error: BaseException) -> str:
    """What is wrong with the options of a node that a constructor has failed on."""
    if isinstance(error, BY_TYPE) and (errors := type_errors(node, key)):
        return "\n".join(errors)
    if is_own(node) and not isinstance(error, InstantiationException | ValueError):
        return f"{key}: {error_and_place(error)}"
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
    """Raise UserError, with the config key, for what a constructor inside refuses.

    Of a part of the user's, whose node ``options`` are, for whatever it raises.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if isinstance(options, dict) and is_own(options):
            raise UserError(refusal_of(options, key, error)) from error
        if isinstance(error, ValueError | TypeError | OSError):
            raise UserError(with_key(key, error, options)) from error
        raise
