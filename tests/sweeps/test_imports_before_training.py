"""What a command has imported when its first student takes its first step."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# What draws and analyses takes seconds to import.
NOT_NEEDED = {"sklearn", "matplotlib", "statsmodels", "plotly"}
PROGRAM = """
import os, sys
from kdsweep.cli import train
from kdsweep.training.student import Student

def first_step(*_):
    print("imported:", *sys.modules, flush=True)
    os._exit(0)

Student.step = first_step
train.main()
"""


@pytest.mark.slow
def test_what_draws_and_analyses_is_not_imported_before_training(tmp_path: Path) -> None:
    words = ["loss=ce", "teacher=none", "trainer.epochs=1", "seed=0,1", "dataset=digits"]
    store = f"tracking.uri=sqlite:///{tmp_path / 'mlflow.db'}"
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words, store],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    imported = set(ran.stdout.rpartition("imported:")[2].split())
    assert "torch" in imported, ran.stderr
    assert not imported & NOT_NEEDED
