"""More processes on one search: each is a controller that takes the next block nobody has."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROLE = "KDSWEEP_WORKER"  # set in a worker's environment: it leaves the answer to its controller
PROGRAM = "from kdsweep.cli import main; main()"
GRACE = 120  # seconds in which a worker parks its trials and uploads what MLflow lacks

Workers = list["subprocess.Popen[bytes]"]


def is_worker() -> bool:
    """Whether this process was started by another controller of the same search."""
    return ROLE in os.environ


@contextmanager
def working(number: int, folder: Path) -> Iterator[Workers]:
    """Start so many more processes with this very command; they end when no trial waits.

    What they say is in `worker-<n>.log` in the search's folder. If this process is interrupted they
    are asked to park what they have, and killed if they do not; if it is killed they go on alone.
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
            _end(worker)
        raise
    finally:
        for worker in workers:
            worker.wait()


def _end(worker: "subprocess.Popen[bytes]") -> None:
    """Wait for a worker that was asked to end, and kill one that does not."""
    try:
        worker.wait(GRACE)
    except subprocess.TimeoutExpired:
        worker.kill()
