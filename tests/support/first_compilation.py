"""Two workers import different halves of what both import first.

In a fresh clone each of them compiles its own half so, and reads what the other one has compiled.
Compiling takes twice as long there as all else that happens before the first test.
"""

import os
from importlib import import_module

HALVES = {
    "gw0": ("torch._dynamo", "torchvision", "hypothesis"),
    "gw1": (
        "scipy.stats",
        "pandas",
        "sqlalchemy.orm",
        "mlflow",
        "matplotlib.figure",
        "sklearn.datasets",
        "statsmodels.stats.power",
        "optuna",
        "alembic.command",
    ),
}


def import_own_half() -> None:
    """Import what this worker compiles; what is in neither half comes later."""
    for name in HALVES.get(os.environ.get("PYTEST_XDIST_WORKER", ""), ()):
        import_module(name)
