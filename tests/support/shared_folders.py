"""What is slow to make, made by one of the workers of a test run for all of them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def made_once(
    name: str, make: Callable[[Path], object], factory: pytest.TempPathFactory, worker: str
) -> Path:
    """A folder that `make` has filled, in this worker or in another one. No test changes it."""
    base = factory.getbasetemp()
    folder = (base if worker == "master" else base.parent) / name
    done = folder / "done"
    with FileLock(folder.with_suffix(".lock")):
        if not done.exists():
            folder.mkdir(exist_ok=True)
            make(folder)
            done.touch()
    return folder
