"""The command line: `train.py` with its overrides, and the console script `kdsweep`.

The public names are imported on first use, so that `train.py` does not import the commands:
`main` (what train.py runs), `app` (the console script), `CONF` (the directory of configs).
"""

from importlib import import_module
from typing import Any

_MODULES = {
    "CONF": "kdsweep.common.conf",
    "app": "kdsweep.cli.commands",
    "main": "kdsweep.cli.train",
}
__all__ = [*_MODULES]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'kdsweep.cli' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
