"""A sweep that is trained by a cluster's jobs, and what must be the same as in one process."""

import contextlib
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from processes import SMALL, assert_mlflow_is_tidy, mlflow_runs, results, runs_of, table

from kdsweep.common.files import read_json

README = ["-m", "loss=kl", "T=1,4,16", "alpha=0.1,0.5,0.9"]
# Two cohorts, and the stages and the teacher that they need.
SWEEP = [
    *["-m", *SMALL, "student=cnn", "student.model.width=4", "T=1,4", "seed=0,1"],
    *["trainer.epochs=40", "tracking.checkpoint_seconds=0", "tracking.report=false"],
    *["stages=hints", "stages.hints.epochs=6", "teacher.model.width=4", "resume=true"],
]
SECONDS = 300.0  # until a moment of a sweep has come


def assert_same(folder: Path, other: Path) -> None:
    """The same weights, table and MLflow runs; nothing lost, nothing twice."""
    assert results(folder) == results(other)
    assert table(folder) == table(other)
    assert mlflow_runs(folder) == mlflow_runs(other)
    assert_mlflow_is_tidy(folder, runs_of(other))


def owners(folder: Path) -> list[int]:
    """The processes that train units now."""
    pids = []
    for path in folder.glob("multirun/**/work/*.attempt-*.json"):
        with contextlib.suppress(ValueError, OSError):  # it is just being written
            attempt = read_json(path)
            if attempt["state"] == "running":
                pids.append(attempt["pid"])
    return pids


def attempts(folder: Path) -> dict[int, int]:
    """How many attempts each unit of a sweep has had."""
    paths = folder.glob("multirun/**/work/*.attempt-*.json")
    return dict(Counter(int(path.name.partition(".")[0]) for path in paths))


def wait_for(process: "subprocess.Popen[str]", is_so: Callable[[], bool]) -> None:
    """Wait until something is so, while a command runs."""
    end = time.monotonic() + SECONDS
    while not is_so():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.02)
