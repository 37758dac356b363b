"""The benchmarks are scripts next to the package: their folder is put on the path."""

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

Load = Callable[[str], ModuleType]


@pytest.fixture(scope="session")
def load() -> Iterator[Load]:
    """`load("speed.rounds")`: a module of the benchmarks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield importlib.import_module
