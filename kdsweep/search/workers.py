"""More processes on one search: each is a controller that claims the next free block."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROLE = "KDSWEEP_WORKER"  # in the environment of a worker, which leaves the end to its controller
PROGRAM = "from kdsweep.cli import main; main()"
GRACE = 120  # seconds in which a worker releases its trials and uploads what MLflow lacks

Workers = list["subprocess.Popen[bytes]"]


def is_worker() -> bool:
    """Whether this process was started by another controller of the same search."""
    return ROLE in os.environ


@contextmanager
def worker_processes(number: int, folder: Path) -> Iterator[Workers]:
    """Start so many more processes with this very command; they end when no trial waits.

    Their output is in `worker-<n>.log` in the search's folder. If this process is interrupted they
    are terminated, so that they release their trials, and killed if that takes longer than `GRACE`;
    if it is killed they continue alone.
    """
    workers: Workers = []
    try:
        for index in range(1, number + 1):
            with (folder / f"worker-{index}.log").open("ab") as log:
                workers.append(
                    subprocess.Popen(
                        [sys.executable, "-c", PROGRAM, *sys.argv[1:]],
                        stdout=log,
                        stderr=log,
                        env={**os.environ, ROLE: str(index)},
                    )
                )
        yield workers
    except BaseException:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            try:
                worker.wait(GRACE)
            except subprocess.TimeoutExpired:
                worker.kill()
        raise
    finally:
        for worker in workers:
            worker.wait()
