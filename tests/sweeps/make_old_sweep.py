"""Make tests/sweeps/old_sweep anew, after a change of what a fingerprint or a record holds.

    PYTHONPATH=tests/support python tests/sweeps/make_old_sweep.py

It trains the sweep of `test_old_sweep.py` in a process that is killed in its second cohort.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from test_old_sweep import OLD, WORDS

TOP = Path(__file__).parents[2]

# Files with paths of the machine
WITH_PATHS = shutil.ignore_patterns("multirun.yaml", ".hydra", ".kdsweep", "*.lock")
# Logged by the second cohort when it is killed: the checkpoint of the third is complete.
EPOCHS = 4


def main() -> None:
    """Train, kill and copy."""
    with tempfile.TemporaryDirectory() as folder:
        sweep, store = Path(folder, "multirun", "old"), Path(folder, "teachers")
        process = subprocess.Popen(
            [sys.executable, str(TOP / "train.py"), *WORDS],
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        while process.poll() is None and rows_of(sweep / "3" / "metrics.jsonl") < EPOCHS:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (sweep / "1" / "result.json").exists(), "it was killed too late, try again"
        for name, source in (("runs", sweep), ("store", store)):
            shutil.rmtree(OLD / name, ignore_errors=True)
            shutil.copytree(source, OLD / name, symlinks=True, ignore=WITH_PATHS)


def rows_of(path: Path) -> int:
    """The complete lines of a file, 0 if there is none."""
    return path.read_text(encoding="utf-8").count("\n") if path.is_file() else 0


if __name__ == "__main__":
    main()
