"""Modules that tests write and import, as a user does with parts of their own."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kdsweep.builders import own_source
from kdsweep.config import allow

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_parts"


@contextmanager
def forgotten(folder: Path) -> Iterator[None]:
    """What is imported from a folder in the block is not imported afterwards, nor allowed."""
    state, path = (allow._given, allow._allowed), list(sys.path)
    try:
        yield
    finally:
        allow._given, allow._allowed = state
        sys.path[:] = path
        own_source._digests.clear()
        for name, module in list(sys.modules.items()):
            if (getattr(module, "__file__", None) or "").startswith(f"{folder}/"):
                del sys.modules[name]


def write_module(folder: Path, name: str, text: str) -> Path:
    """A module in a folder, of this source."""
    path = folder / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    return path
