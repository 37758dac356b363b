"""The process of a worker, which may be started before it is known what there is to train.

Its imports take seconds, of torch above all, and so do those of the controller: processes that
start with the command are ready when the first unit is. Only light modules are imported here.
"""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from kdsweep.work.own_package import own_environment
from kdsweep.work.unit_file import FOLDER

COMMAND = (sys.executable, "-m", "kdsweep", "work")


class WorkerProcess:
    """A process that trains units of a sweep's folder, and its log there.

    Args:
        folder: of the sweep.
        index: of the worker, from 0.
        environment: variables that it has in addition to those of this process.
    """

    def __init__(self, folder: Path, index: int, environment: Mapping[str, str]) -> None:
        self.log = folder / FOLDER / f"worker-{index + 1}.log"
        self._has_new_log = not self.log.exists()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                [*COMMAND, str(folder), "-"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**own_environment(), **environment},
                start_new_session=True,  # Ctrl-C is for the controller, which parks the workers
                text=True,
            )

    def discard(self) -> None:
        """Kill it, before it has trained anything."""
        with self.popen as popen:  # waits for it, and closes its pipes
            popen.kill()
        self.remove_log()

    def remove_log(self) -> None:
        """Remove the log of a process that has trained nothing, and its folder if it is empty."""
        if self._has_new_log:
            self.log.unlink(missing_ok=True)
        with suppress(OSError):  # something else is in it
            self.log.parent.rmdir()


EarlyProcesses = dict[int, WorkerProcess]  # by the index of the worker


@contextmanager
def early_processes(folder: Path, count: int) -> Iterator[EarlyProcesses]:
    """Processes for the first workers of a sweep; those that are not taken out end with it."""
    early: EarlyProcesses = {}
    try:
        for index in range(count):
            early[index] = WorkerProcess(folder.absolute(), index, {})
        yield early
    finally:
        for process in early.values():
            process.discard()
