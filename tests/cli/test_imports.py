"""What `--help`, `kdsweep cache` and `kdsweep status` import, in processes of their own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

# What trains, tracks, searches, computes and draws.
HEAVY = {
    "PIL",
    "matplotlib",
    "mlflow",
    "numpy",
    "optuna",
    "pandas",
    "plotly",
    "scipy",
    "sklearn",
    "sqlalchemy",
    "statsmodels",
    "torch",
    "torchvision",
}
PROGRAM = """
import sys

try:
    {run}
except SystemExit as end:
    assert not end.code
print("imported:", *sys.modules, file=sys.stderr)
"""


def imported(run: str, *words: str) -> set[str]:
    """The modules that a program has imported when it ends."""
    program = [sys.executable, "-c", PROGRAM.format(run=run), *words]
    ran = subprocess.run(program, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout
    return set(ran.stderr.rpartition("imported:")[2].split())


def test_help_imports_nothing_heavy() -> None:
    found = imported("from kdsweep.cli import main; main()", "--help")
    assert not found & HEAVY
    assert "typer" not in found  # the other commands' names


@pytest.mark.ci
def test_help_of_the_console_script_imports_nothing_heavy() -> None:
    assert not imported("from kdsweep.cli import app; app()", "--help") & HEAVY


@pytest.mark.slow
def test_listing_the_cache_imports_nothing_heavy() -> None:
    assert not imported("from kdsweep.cli import app; app()", "cache") & (HEAVY - {"numpy"})


@pytest.mark.slow
def test_the_status_of_a_sweep_imports_nothing_heavy(tmp_path: Path) -> None:
    note = {"name": "grid", "created": 0.0, "fingerprints": {"0": "f0"}}
    (tmp_path / "sweep.json").write_text(json.dumps(note))
    assert not imported("from kdsweep.cli import app; app()", "status", str(tmp_path)) & HEAVY
