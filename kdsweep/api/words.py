"""Arguments of Python as words of the command line."""

from collections.abc import Mapping, Sequence
from typing import Any

from kdsweep.api.objects import is_object, store_option
from kdsweep.errors import UserError

ALLOWED_ANYWAY = {"kdsweep", "torch", "torchvision"}
PLAIN = "a number, a string, True, False, None, or a list of them"


def command_words(overrides: Sequence[str], settings: Mapping[str, Any]) -> list[str]:
    """The words of the command line that stand for the arguments of `kdsweep.sweep`.

    Args:
        overrides: words as they are on the command line, such as `T=1,4,16` or `search=bayes`.
        settings: values by key; a list is swept over, `T=[1, 4]` is `T=1,4`. Classes and functions
            of the user's become options of their groups (`api.objects`), and what is in their
            modules is allowed.

    Raises UserError for a value that the command line cannot express.
    """
    for word in overrides:
        if not isinstance(word, str):
            raise UserError(f"an override must be a string such as T=1,4,16, got {word!r}")
    words, modules = list(overrides), set[str]()
    for key, value in settings.items():
        values = value if isinstance(value, list | tuple | range) else [value]
        if not values:
            raise UserError(f"{key} must be {PLAIN}, got an empty list")
        words.append(f"{key}={','.join(_text(key, one, modules) for one in values)}")
    if modules and not any(word.startswith("allow=") for word in words):
        words.append(f"allow=[{','.join(sorted(modules))}]")
    return words


def _text(key: str, value: Any, modules: set[str]) -> str:
    """A value in Hydra's grammar; the module of an object of the user's is added to ``modules``."""
    if is_object(value):
        option, module = store_option(key, value)
        modules.update({module} - ALLOWED_ANYWAY)
        return option
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return value
    raise UserError(f"{key} must be {PLAIN}, got {value!r}")
