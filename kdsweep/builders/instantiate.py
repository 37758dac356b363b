"""Objects from config nodes; messages about bad options begin with the config key."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from kdsweep.config.schema import EXECUTION_WHITELIST
from kdsweep.errors import UserError
from kdsweep.training.memory import is_out_of_memory


def instantiate_node(node: dict[str, Any], key: str, **kwargs: Any) -> Any:
    """The object that a config node describes. A UserError begins with the config key."""
    try:
        return instantiate(
            node, **kwargs, _convert_="all", _execution_whitelist_=EXECUTION_WHITELIST
        )
    except Exception as error:
        cause = (error.__cause__ or error) if isinstance(error, InstantiationException) else error
        if is_out_of_memory(cause):
            raise UserError(f"{key} must fit into memory, got {node}") from error
        if isinstance(error, InstantiationException | ValueError | TypeError | OSError):
            raise UserError(with_key(key, cause)) from error
        raise


def with_key(key: str, error: BaseException) -> str:
    """The message of an error, beginning with a config key."""
    text = str(error).split("\nfull_key")[0].strip()
    return text if text.startswith(key) else f"{key}: {text}"


@contextmanager
def naming_key(key: str) -> Iterator[None]:
    """Raise UserError, with the config key, for what a constructor inside refuses."""
    try:
        yield
    except (ValueError, TypeError, OSError) as error:
        raise UserError(with_key(key, error)) from error
