"""The process of a worker, which may be started before it is known what there is to train.

Its imports take seconds, of torch above all, and so do those of the controller: processes that
start with the command are ready when the first unit is. Only light modules are imported here.
"""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from kdsweep.common.machine import usable_cores
from kdsweep.config.threads import AUTO, thread_count
from kdsweep.work.own_package import own_environment
from kdsweep.work.unit_file import FOLDER

NVIDIA = Path("/dev/nvidiactl")  # is there with NVIDIA's driver
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
    """Processes for the first workers of a sweep; those that are not taken out are discarded."""
    early: EarlyProcesses = {}
    try:
        for index in range(count):
            early[index] = WorkerProcess(folder.absolute(), index, {})
        yield early
    finally:
        discard(early)


def discard(early: EarlyProcesses, first: int = 0) -> None:
    """Take out and kill the processes from the index ``first`` on."""
    for index in [index for index in early if index >= first]:
        early.pop(index).discard()


def early_count(workers: object, jobs: int, *, device: object, threads: object) -> int:
    """How many processes can be started before it is known which runs the jobs are.

    None where one process trains, or may do so. None on GPUs either: a process gets its GPU from
    its environment, and which there are is not known before torch is imported.

    Args:
        workers: `hydra.launcher.workers`.
        device: `trainer.device`.
        threads: `trainer.threads`.
    """
    per_worker = thread_count(threads) or 1
    if workers == AUTO:
        count = usable_cores(physical=True) // per_worker if threads != AUTO else 1
    else:
        count = thread_count(workers) or 1
    has_cores = count * per_worker <= usable_cores(physical=False)
    may_be_on_gpus = device != "cpu" and NVIDIA.exists()
    count = min(count, jobs)
    return count if count > 1 and has_cores and not may_be_on_gpus else 0
