"""Where nothing is compiled yet, two workers compile different halves of what both import.

In a fresh clone compiling takes twice as long as all else that happens before the first test.
"""

import os
from importlib import import_module

HALVES = {
    "gw0": ("torch._dynamo", "torchvision", "hypothesis"),
    "gw1": (
        *("scipy.stats", "pandas", "sqlalchemy.orm", "mlflow", "matplotlib.figure"),
        *("sklearn.datasets", "statsmodels.stats.power", "optuna", "alembic.command"),
    ),
}


def import_own_half() -> None:
    """Import what this worker compiles; the rest is compiled when it comes to that."""
    for name in HALVES.get(os.environ.get("PYTEST_XDIST_WORKER", ""), ()):
        import_module(name)
