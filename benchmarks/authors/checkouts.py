"""Loads definitions from files of other repositories' checkouts.

Their code is written for a GPU, for old versions of torch, and for packages that a loss does not
need. So only imports, functions, classes and constants of a file are executed, no other statement
of a script; a name that cannot be imported is replaced by a placeholder, the ``__init__`` of a
package is left out, and ``.cuda()`` has no effect.
"""

import ast
import copy
import importlib.util
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

DEFINITIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)


@dataclass(frozen=True)
class Repository:
    """A repository on GitHub, at the commit that the table compares with."""

    owner: str
    name: str
    commit: str

    def url(self, path: str) -> str:
        return f"https://github.com/{self.owner}/{self.name}/blob/{self.commit}/{path}"

    def file(self, folder: Path, path: str) -> Path:
        """A file of the checkout in ``folder``. Raises FileNotFoundError, with what is missing."""
        checkout = folder / self.name
        if not checkout.is_dir():
            source = f"https://github.com/{self.owner}/{self.name}"
            raise FileNotFoundError(f"{checkout} must be a checkout of {source}, got no folder")
        if not (checkout / path).is_file():
            raise FileNotFoundError(f"{checkout} must have {path} as at {self.commit}, got none")
        return checkout / path


class Absent:
    """In place of a name that cannot be imported; as a decorator or a base it adds nothing."""

    def __getattr__(self, name: str) -> "Absent":
        return self

    def __call__(self, *given: Any) -> Any:
        return given[0] if given and isinstance(given[0], type) else self

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        return ()


def definitions(checkout: Path, path: str) -> ModuleType:
    """The functions, classes and constants of a file of a checkout, as a module."""
    package = packages_above(checkout, path)
    module = ModuleType(f"{package}.{Path(path).stem}")
    module.__package__ = package
    sys.modules[module.__name__] = module  # where a decorator of timm looks for it
    vars(module).update(torch=torch)  # some have it from a star import
    for node in ast.parse((checkout / path).read_text()).body:
        if isinstance(node, DEFINITIONS) or is_constant(node):
            define(node, module, str(checkout / path))
    return module


def is_constant(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)


def define(node: ast.stmt, module: ModuleType, path: str) -> None:
    for single in one_name_each(node):
        try:
            exec(compile(ast.Module([single], []), path, "exec"), vars(module))
        except ImportError:
            assert isinstance(single, ast.Import | ast.ImportFrom)
            (alias,) = single.names
            setattr(module, alias.asname or alias.name, Absent())


def one_name_each(node: ast.stmt) -> list[ast.stmt]:
    """An import of several names as several imports; another statement as it is."""
    if not isinstance(node, ast.Import | ast.ImportFrom):
        return [node]
    parts: list[ast.stmt] = []
    for alias in node.names:
        part = copy.copy(node)
        part.names = [alias]
        parts.append(part)
    return parts


def packages_above(checkout: Path, path: str) -> str:
    """The name of a file's package, for its relative imports; no ``__init__`` is executed."""
    name, folder = f"checkout_{checkout.name}", checkout
    add_package(name, folder)
    for part in Path(path).parts[:-1]:
        name, folder = f"{name}.{part}", folder / part
        add_package(name, folder)
    return name


def add_package(name: str, folder: Path) -> None:
    spec = importlib.util.spec_from_loader(name, None, is_package=True)
    assert spec is not None
    package = importlib.util.module_from_spec(spec)
    package.__path__ = [str(folder)]
    sys.modules[name] = package


@contextmanager
def on_cpu_in_float64() -> Iterator[None]:
    """``.cuda()`` returns what it is called on, a FloatTensor is of float64, nothing warns."""
    with (
        warnings.catch_warnings(action="ignore"),
        mock.patch.object(torch, "FloatTensor", torch.DoubleTensor),
        mock.patch.object(Tensor, "cuda", lambda tensor, *_, **__: tensor),
        mock.patch.object(nn.Module, "cuda", lambda module, *_, **__: module),
    ):
        yield
