"""An executor whose worker is this process: units are trained when it is polled."""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from kdsweep.errors import UserError
from kdsweep.work import local, worker_process
from kdsweep.work.executor import ExecutorFactory, Exit
from kdsweep.work.worker import Worker
from kdsweep.work.worker_process import EarlyProcesses

# Called with the number of a unit instead of its training; a text is how the process has ended.
Instead = Callable[[int], str | None]


class WorkerInProcess:
    """Trains one unit a poll. ``instead`` may take the place of the training of some units."""

    def __init__(self, folder: Path, instead: Instead = lambda number: None) -> None:
        self._folder, self._instead = folder, instead
        self._worker = Worker(folder)
        self._waiting: deque[int] = deque()
        self.submitted: list[int] = []
        self.is_closed = False
        self.is_left = False  # its jobs continue without a controller, if it is closed

    @property
    def workers(self) -> int:
        return 2

    def free(self) -> int:
        return 2 - len(self._waiting)

    def submit(self, numbers: Sequence[int]) -> None:
        self.submitted += numbers
        self._waiting += numbers

    def poll(self, seconds: float) -> Sequence[Exit]:
        if not self._waiting:
            return []
        number = self._waiting.popleft()
        if (reason := self._instead(number)) is not None:
            return [Exit(number, reason)]
        try:
            self._worker.run(number)
        except UserError as error:
            return [Exit(number, str(error))]
        return [Exit(number)]

    def close(self, *, leave: bool = False) -> None:
        self.is_closed, self.is_left = True, leave


def use(monkeypatch: pytest.MonkeyPatch, factory: ExecutorFactory) -> list[int]:
    """Have commands with several local workers use such an executor, and start no process.

    Returns how many processes each command would have started early.
    """
    counts: list[int] = []

    def no_processes(folder: Path, count: int) -> AbstractContextManager[EarlyProcesses]:
        counts.append(count)
        return nullcontext({})

    monkeypatch.setattr(local, "find_workers", lambda n, *_, **__: factory if n != 1 else None)
    monkeypatch.setattr(worker_process, "early_processes", no_processes)
    monkeypatch.setattr(worker_process, "usable_cores", lambda physical: 8)
    return counts
