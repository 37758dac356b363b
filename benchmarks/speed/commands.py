"""Whole commands, timed in processes of their own."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

TOP = Path(__file__).parents[2]
TRAIN = str(TOP / "train.py")
FIRST_STEP = str(Path(__file__).with_name("first_step.py"))
IMPORT_TORCH = ("-c", "import torch")
HELP = (TRAIN, "--help")
# What Hydra itself needs for the config of train.py.
COMPOSE = (
    "-c",
    "import hydra; from kdsweep.common.conf import CONF;"
    " from kdsweep.config.register import register; register();"
    " hydra.initialize_config_dir(str(CONF)); hydra.compose('train')",
)


def run_python(words: Sequence[str], folder: Path, threads: int = 1, top: Path = TOP) -> str:
    """Run Python with these words in a folder, with a checkout's kdsweep; returns what it printed.

    Raises RuntimeError with the end of its output if it fails.
    """
    ended = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment(threads, top),
        capture_output=True,
        text=True,
    )
    if ended.returncode != 0:
        end = (ended.stdout + ended.stderr)[-2000:]
        raise RuntimeError(f"{' '.join(words)} ended with {ended.returncode}: {end}")
    return ended.stdout


def seconds_of(words: Sequence[str], folder: Path, top: Path = TOP) -> float:
    """Seconds from the start of Python with these words to its end."""
    began = time.perf_counter()
    run_python(words, folder, top=top)
    return time.perf_counter() - began


def environment(threads: int, top: Path) -> dict[str, str]:
    """A checkout's kdsweep, whichever is installed, and a number of torch threads."""
    return {
        **os.environ,
        "PYTHONPATH": str(top),
        "OMP_NUM_THREADS": str(threads),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
