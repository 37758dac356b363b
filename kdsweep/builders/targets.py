"""The class or function that a `_target_` names, and why there is none."""

import pkgutil
import sysconfig
import traceback
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from typing import Any

import kdsweep
from kdsweep.common.suggestions import did_you_mean
from kdsweep.common.text import error_reason
from kdsweep.common.validation import as_typed
from kdsweep.config.allow import execution_whitelist, how_to_allow, own_module

NOT_THERE = (ImportError, AttributeError, ValueError)


def find_target(path: object) -> Callable[..., Any] | None:
    """The class or function at an import path; None unless a config may name it and it exists."""
    if not isinstance(path, str) or not _is_allowed(path):
        return None
    try:
        target = pkgutil.resolve_name(path)
    except NOT_THERE:
        return None
    except Exception:
        if own_module(path) is None:
            raise
        return None  # a module of the user's may raise anything
    is_there = callable(target) and _defined_elsewhere(path, target) is None
    return target if is_there else None


def import_targets(node: Any) -> None:
    """Import the modules of all that a node names, before a context that changes what they make.

    A module may have tensors, which are on the device that is the default when it is imported.
    """
    if isinstance(node, Mapping):
        find_target(node.get("_target_"))
    children = node.values() if isinstance(node, Mapping) else node
    for child in children if isinstance(node, Mapping | list | tuple) else ():
        import_targets(child)


def unknown_target(key: str, path: object) -> str:
    """A message for a `_target_` at a config key where `find_target` finds nothing."""
    if isinstance(path, str) and _is_allowed(path) and (why := _import_fault(path)) is not None:
        return f"{key}._target_ must be in a module that can be imported, got {path}: {why}"
    allowed = " or ".join(execution_whitelist())
    if (other := _imported_from(path)) is not None:
        return (
            f"{key}._target_ must be defined in {allowed}, got {path}, which is {other}"
            f"{how_to_allow(other)}"
        )
    return (
        f"{key}._target_ must be the path of a class or function, {allowed}, got {as_typed(path)}"
        f"{_nearest_target(str(path)) or how_to_allow(path)}"
    )


def error_and_place(error: BaseException) -> str:
    """An error of code of the user's in one line: what it is, and in which line of which file."""
    return f"{type(error).__name__}: {error_reason(error)}{place_of(error)}"


def place_of(error: BaseException) -> str:
    """The last line of the user's that an error has passed, ` (mynet.py, line 3)`, if any."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_of_user(frame)]
    if not frames or (isinstance(error, SyntaxError) and error.filename):  # it has its own place
        return ""
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"


def _is_of_user(frame: traceback.FrameSummary) -> bool:
    """Whether a line is in no library and not in kdsweep."""
    others = (sysconfig.get_path("stdlib"), str(Path(kdsweep.__file__).parent), "<")
    return not frame.filename.startswith(others) and "site-packages" not in frame.filename


def _is_allowed(path: str) -> bool:
    return any(fnmatchcase(path, allowed) for allowed in execution_whitelist())


def _imported_from(path: object) -> str | None:
    """The own path of what a module of the user's has imported from one that is not allowed."""
    if not isinstance(path, str) or not _is_allowed(path):
        return None
    try:
        return _defined_elsewhere(path, pkgutil.resolve_name(path))
    except NOT_THERE:
        return None


def _defined_elsewhere(path: str, target: Any) -> str | None:
    """Where an object at an import path of the user's is defined, if nothing there is allowed."""
    module = getattr(target, "__module__", None) or type(target).__module__
    name = getattr(target, "__qualname__", type(target).__qualname__)
    if own_module(path) is None or _is_allowed(f"{module}.{name}"):
        return None
    return f"{module}.{name}"


def _import_fault(path: str) -> str | None:
    """Why a module of the user's on an import path cannot be imported; None if all can."""
    if own_module(path) is None:
        return None
    parts = path.split(".")[:-1]
    for count in range(1, len(parts) + 1):
        name = ".".join(parts[:count])
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                return error_and_place(error)
            # below a module it may be a class with this method
            return None if count > 1 else f"no module {name} is in {Path.cwd()} or installed"
        except Exception as error:
            return error_and_place(error)
    return None


def _nearest_target(path: str) -> str:
    """A suggestion from the module of a path, if that exists and the name in it does not."""
    module, _, name = path.rpartition(".")
    if not _is_allowed(path):
        return ""
    try:
        names = [
            name for name, value in vars(pkgutil.resolve_name(module)).items() if callable(value)
        ]
    except (*NOT_THERE, TypeError):
        return ""
    return did_you_mean(name, names, f"{module}.")
