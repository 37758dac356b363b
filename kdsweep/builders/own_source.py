"""The source code of the user's own parts, which counts in fingerprints.

Of a module that is a single file, that file counts; of a package all of its modules. Files of the
working directory also count where these import them.
"""

import hashlib
import sys
from collections.abc import Iterable, Mapping
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES
from importlib.util import find_spec
from modulefinder import ModuleFinder
from pathlib import Path
from typing import Any

from kdsweep.config.allow import own_module

SOURCE = "_source_"  # next to the `_target_` of a part
MODULES = (*SOURCE_SUFFIXES, *EXTENSION_SUFFIXES)

_digests: dict[str, str] = {}  # by module, as it was when it was first needed


def with_sources(node: Any) -> Any:
    """A copy of plain values in which each part of the user's has the digest of its source."""
    if isinstance(node, Mapping):
        below = {key: with_sources(value) for key, value in node.items()}
        module = own_module(node.get("_target_"))
        return below if module is None else {**below, SOURCE: module_digest(module)}
    return [with_sources(value) for value in node] if isinstance(node, list | tuple) else node


def own_sources(node: Any) -> dict[str, str]:
    """The digest of each module of the user's that plain values name."""
    if isinstance(node, Mapping):
        module = own_module(node.get("_target_"))
        digests = {} if module is None else {module: module_digest(module)}
        children: Iterable[Any] = node.values()
    else:
        digests, children = {}, node if isinstance(node, list | tuple) else ()
    for child in children:
        digests |= own_sources(child)
    return digests


def module_digest(module: str) -> str:
    """sha256 over the files of a top-level module or package, in hex.

    It stays that of the code which this process has imported, whatever becomes of the files.
    """
    if module not in _digests:
        _digests[module] = _digest(module)
    return _digests[module]


def forget_edited_modules() -> None:
    """Have modules imported anew whose files have changed since: a notebook runs many commands."""
    for module, digest in list(_digests.items()):
        if _digest(module) == digest:
            continue
        del _digests[module]
        files = set(map(str, _files(module).values()))
        for name, loaded in list(sys.modules.items()):
            if name.partition(".")[0] == module or getattr(loaded, "__file__", None) in files:
                del sys.modules[name]


def _digest(module: str) -> str:
    digest = hashlib.sha256()
    for name, path in sorted(_files(module).items()):
        digest.update(f"{name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _files(module: str) -> dict[str, Path]:
    """The files of a module by their names, relative to the folder that it is in."""
    spec = find_spec(module)
    folders = [] if spec is None else list(map(Path, spec.submodule_search_locations or []))
    origin = None if spec is None or folders else spec.origin
    sources = [] if origin is None else [(Path(origin).parent, Path(origin))]
    for folder in folders:
        modules = (path for path in folder.rglob("*") if path.name.endswith(MODULES))
        sources += [(folder.parent, path) for path in modules]
    here, files = Path.cwd(), [path for _, path in sources if path.is_file()]
    if any(parent == here for parent, _ in sources):
        sources += [(here, path) for path in _imported(here, files)]
    return {path.relative_to(parent).as_posix(): path for parent, path in sources if path.is_file()}


def _imported(folder: Path, files: Iterable[Path]) -> list[Path]:
    """The modules in a folder that files import, directly or not; kdsweep is none of the user's."""
    finder = ModuleFinder(path=[str(folder)], excludes=["kdsweep"])
    for file in files:
        if file.suffix == ".py":
            finder.run_script(str(file))
    paths = (getattr(module, "__file__", None) for module in finder.modules.values())
    return [Path(path) for path in paths if path is not None]
