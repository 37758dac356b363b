"""Whose classes and functions a config may name in addition to those of kdsweep.

A config may come from anywhere, such as the folder of a run or MLflow, so that what it names is
refused unless this process allows it: by the key `allow` of the command that trains, by
`[tool.kdsweep] allow` of the nearest pyproject.toml, by `kdsweep --allow` or by the argument of
`kdsweep.load`. A package that offers parts by an entry point (`config/offered_parts.py`) is allowed
by being installed.
"""

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import invalidate_caches
from pathlib import Path
from typing import Any

from kdsweep.common.validation import as_typed, shown
from kdsweep.config.offered_parts import offered_parts
from kdsweep.config.schema import EXECUTION_WHITELIST
from kdsweep.errors import UserError

KEY = "allow"
PYPROJECT = "pyproject.toml"
# Of these a config may name what is in EXECUTION_WHITELIST; the rest loads and runs anything.
LIBRARIES = {pattern.partition(".")[0] for pattern in EXECUTION_WHITELIST}
NAME = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")  # of a module: mynet, mylab.losses

_given: tuple[str, ...] = ()  # by the command
_allowed: tuple[str, ...] | None = None  # all of them; None until they are needed


def allow(names: Iterable[str] = (), key: str = KEY) -> None:
    """Allow these modules, and those of pyproject.toml and of installed packages, and no others.

    The working directory becomes importable, as it is with `python train.py`, if a module is named.

    Args:
        names: of modules and packages, `mynet`; all that is below them is allowed.
        key: what they were given by, for messages.

    Raises UserError for a name that no module of the user's can have.
    """
    global _given, _allowed
    _given = tuple(dict.fromkeys(_checked(names, key)))
    named = (*_given, *_of_pyproject(Path.cwd()))
    _allowed = tuple(dict.fromkeys([*named, *(part.module for part in offered_parts())]))
    if named:
        _make_importable(Path.cwd())


@contextmanager
def also_allowed(names: Sequence[str], key: str = KEY) -> Iterator[None]:
    """Allow further modules for a while. Raises UserError as `allow` does."""
    global _given, _allowed
    before = _given, _allowed
    allow([*_given, *_checked(names, key)], key)
    try:
        yield
    finally:
        _given, _allowed = before


def allowed_modules() -> tuple[str, ...]:
    """The modules of the user's that a config may name. Raises UserError as `allow` does."""
    if _allowed is None:
        allow()
    assert _allowed is not None
    return _allowed


def execution_whitelist() -> tuple[str, ...]:
    """What a config may name, as patterns of Hydra's."""
    return (*EXECUTION_WHITELIST, *(f"{module}.*" for module in allowed_modules()))


def own_module(path: object) -> str | None:
    """The top-level module or package of an allowed import path; None for any other."""
    if not isinstance(path, str):
        return None
    is_own = any(path.startswith(f"{module}.") for module in allowed_modules())
    return path.partition(".")[0] if is_own else None


def is_own(node: Any) -> bool:
    """Whether a config node names a class or a function of the user's."""
    return isinstance(node, dict) and own_module(node.get("_target_")) is not None


def how_to_allow(path: object) -> str:
    """The end of a refusal, with the word that allows an import path; empty if none can."""
    if (module := _could_be_allowed(path)) is None:
        return ""
    return f"; {KEY}=[{','.join([*_given, module])}] allows what is in {module}"


def how_to_allow_loading(path: object) -> str:
    """The same where a run or a model is loaded: what it names is code of someone."""
    if (module := _could_be_allowed(path)) is None:
        return ""
    return (
        f"; if {module} is a module that you trust: kdsweep --allow {module} COMMAND,"
        f" kdsweep.load(SOURCE, allow=['{module}']), or allow = [\"{module}\"] below"
        f" [tool.kdsweep] in {PYPROJECT}"
    )


def _could_be_allowed(path: object) -> str | None:
    """The top-level module of an import path; None if it is allowed, or can be no user's."""
    module = str(path).partition(".")[0]
    if "." not in str(path) or _fault(module) is not None:
        return None
    return module if own_module(path) is None else None


def _checked(names: Iterable[str], key: str) -> list[str]:
    modules = list(names)
    for name in modules:
        if (fault := _fault(name)) is not None:
            raise UserError(f"{key} must be names of your modules, such as mynet, got {fault}")
    return modules


def _fault(name: object) -> str | None:
    """Why a name is none of a module that can be allowed."""
    if not isinstance(name, str) or NAME.fullmatch(name) is None:
        return as_typed(name)
    package = name.partition(".")[0]
    if package in sys.stdlib_module_names:
        return f"{name}, of Python's standard library"
    if package in LIBRARIES:
        return f"{name}, of a library that kdsweep is made of"
    if name == "__main__":
        return f"{name}, which is another module in every process"
    return None


def _of_pyproject(folder: Path) -> list[str]:
    """`[tool.kdsweep] allow` of the nearest pyproject.toml, of a folder or of one above it."""
    paths = (above / PYPROJECT for above in (folder, *folder.parents))
    path = next(filter(Path.is_file, paths), None)
    if path is None:
        return []
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} must be readable TOML, got: {error}") from error
    names = content.get("tool", {}).get("kdsweep", {}).get(KEY, [])
    where = f"[tool.kdsweep] {KEY} in {path}"
    if not isinstance(names, list):
        raise UserError(f"{where} must be a list of names of modules, got {shown(names)}")
    return _checked(names, where)


def _make_importable(folder: Path) -> None:
    invalidate_caches()  # of a file that has just been written
    if "" not in sys.path and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
