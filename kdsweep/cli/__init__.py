"""The command line: `train.py` with its overrides, and the console script `kdsweep`.

Public: `main` (what train.py runs), `app` (the console script), `CONF` (the directory of configs).
"""

from kdsweep.cli.commands import app
from kdsweep.cli.train import main
from kdsweep.common.conf import CONF

__all__ = ["CONF", "app", "main"]
