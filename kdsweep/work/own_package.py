"""The environment of processes that train units: with the same kdsweep as this process."""

import os
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import kdsweep
from kdsweep.common.passwords import VARIABLE


def own_environment() -> dict[str, str]:
    """The variables of this process, from which a child imports this very package."""
    top, known = Path(kdsweep.__file__).parents[1], dict(os.environ)
    known.pop(VARIABLE, None)  # they need no password: they open no store
    if top != Path(sysconfig.get_path("purelib")):  # a checkout
        known["PYTHONPATH"] = os.pathsep.join(filter(None, [str(top), known.get("PYTHONPATH")]))
    return known


@contextmanager
def own_environment_set() -> Iterator[None]:
    """Inside, this process has that environment, for a library that starts processes itself."""
    passwords = os.environ.pop(VARIABLE, None)
    os.environ.update(own_environment())
    try:
        yield
    finally:
        if passwords is not None:
            os.environ[VARIABLE] = passwords
