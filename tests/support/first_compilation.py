"""Two workers compile different halves of what both import first.

In a fresh clone each of them reads what the other one has compiled. Compiling takes twice as long
there as all else that happens before the first test.
"""

import os
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import pytest
from _pytest.assertion import rewrite

TESTS = Path(__file__).parents[1]
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")

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
    """Import what this worker compiles; what is in neither half is imported later."""
    for name in HALVES.get(WORKER, ()):
        import_module(name)


def rewrite_own_half(config: pytest.Config) -> None:
    """Rewrite the assertions of this worker's half of the tests, as pytest would on their import.

    pytest has no public function for it: the private ones are those that its import hook calls.
    """
    state = config.stash.get(rewrite.assertstate_key, None)  # None with --assert=plain
    if state is None or WORKER not in HALVES or sys.dont_write_bytecode:
        return
    for test in sorted(TESTS.rglob("test_*.py"))[list(HALVES).index(WORKER) :: len(HALVES)]:
        cache = rewrite.get_cache_dir(test)
        compiled = cache / (test.stem + rewrite.PYC_TAIL)
        if not compiled.exists() and rewrite.try_makedirs(cache):
            with suppress(Exception):  # reported where the test is imported
                source_hash, code = rewrite._rewrite_test(test, config)
                rewrite._write_pyc(state, code, source_hash, compiled)
