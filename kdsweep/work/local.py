"""Worker processes of this machine, each with its part of the cores or a GPU of its own."""

import json
import queue
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from kdsweep.builders.device import resolve_device
from kdsweep.errors import RunFailed
from kdsweep.runs.spec import RunSpec
from kdsweep.work.attempt import PARKED
from kdsweep.work.executor import ExecutorFactory, Exit
from kdsweep.work.places import Place, find_places
from kdsweep.work.serving import READY
from kdsweep.work.worker_process import EarlyProcesses, WorkerProcess, discard

PATIENCE = 60.0  # seconds in which a worker parks its unit before it is killed


class _Worker:
    """A worker process, and the unit that it trains."""

    def __init__(
        self, index: int, started: WorkerProcess, place: Place, lines: "queue.SimpleQueue[_Line]"
    ) -> None:
        self.index = index
        self.unit: int | None = None
        self.is_used = False  # it has been given a unit
        self.started, self.process, self.log = started, started.popen, started.log
        place.pin(self.process.pid)
        self._reader = threading.Thread(target=self._read, args=(lines,), daemon=True)
        self._reader.start()

    def _read(self, lines: "queue.SimpleQueue[_Line]") -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for text in output:
                lines.put(_Line(self, text))
        lines.put(_Line(self, None))

    def give(self, number: int) -> None:
        """Have it train a unit. A worker that has just ended is noticed by its output."""
        assert self.process.stdin is not None
        self.unit, self.is_used = number, True
        with suppress(OSError):
            self.process.stdin.write(f"{number}\n")
            self.process.stdin.flush()

    def stop(self) -> None:
        """Close its input: it parks its unit at the next step, and ends."""
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.close()

    def ended(self) -> str:
        """How its process has ended; it is waited for."""
        code = self.process.wait()
        self.stop()
        self._reader.join()
        if code < 0:
            return f"killed by signal {-code}"
        return f"it ended with code {code}, see {self.log}"

    def last_line(self) -> str:
        """The end of its log."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return lines[-1] if lines else "nothing is in its log"


class _Line(NamedTuple):
    """What a worker has printed; None: it has ended."""

    worker: _Worker
    text: str | None


class LocalExecutor:
    """Worker processes that are used for one unit after the other; `places`: one for each.

    They are started at once, so that they have imported everything when the first unit is there,
    and end with this process. Their output is in `work/worker-<n>.log` of the sweep's folder.

    Args:
        early: processes that have been started for this folder already; it takes out what it uses.
    """

    def __init__(
        self, folder: Path, places: Sequence[Place], early: EarlyProcesses | None = None
    ) -> None:
        self._folder, self._places = folder.absolute(), places
        self._early = {} if early is None else early
        self._lines: queue.SimpleQueue[_Line] = queue.SimpleQueue()
        self._workers: dict[int, _Worker] = {}
        self._has_started = False  # some worker has
        try:
            for index in range(len(places)):
                self._start(index)
        except BaseException:
            self.close()
            raise

    @property
    def workers(self) -> int:
        return len(self._places)

    def free(self) -> int:
        busy = sum(worker.unit is not None for worker in self._workers.values())
        return len(self._places) - busy

    def _start(self, index: int) -> _Worker:
        place, started = self._places[index], self._early.pop(index, None)
        if started is not None and place.environment:  # which it has not been started with
            started.discard()
            started = None
        started = started or WorkerProcess(self._folder, index, place.environment)
        worker = _Worker(index, started, place, self._lines)
        self._workers[index] = worker
        return worker

    def submit(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            idle = (worker for worker in self._workers.values() if worker.unit is None)
            worker = next(idle, None)
            if worker is None:  # one has ended since
                index = next(i for i in range(len(self._places)) if i not in self._workers)
                worker = self._start(index)
            worker.give(number)

    def poll(self, seconds: float) -> Sequence[Exit]:
        exits: list[Exit] = []
        end = time.monotonic() + seconds
        while True:
            try:  # what has come already is read at once
                wait = 0.0 if exits else max(end - time.monotonic(), 0.0)
                line = self._lines.get(timeout=wait) if wait else self._lines.get_nowait()
            except queue.Empty:
                return exits
            if (one := self._take(line)) is not None:
                exits.append(one)

    def _take(self, line: _Line) -> Exit | None:
        worker = line.worker
        if line.text is None:
            return self._ended(worker)
        message = json.loads(line.text)
        if message["state"] == READY:
            self._has_started = True
            return None
        worker.unit = None
        if message["state"] == PARKED:  # and ends
            self._forget(worker)
        return Exit(message["number"], message["reason"])

    def _ended(self, worker: _Worker) -> Exit | None:
        """A worker has ended; another one takes its place with the next unit."""
        self._forget(worker)
        reason, code = worker.ended(), worker.process.returncode
        if not self._has_started and code > 0:
            raise RunFailed(f"no worker can be started: {worker.last_line()} (see {worker.log})")
        return None if worker.unit is None else Exit(worker.unit, reason)

    def _forget(self, worker: _Worker) -> None:
        if self._workers.get(worker.index) is worker:
            del self._workers[worker.index]

    def close(self, *, leave: bool = False) -> None:
        """End the workers, parked: none of them continues without this process."""
        workers = list(self._workers.values())
        self._workers.clear()
        for worker in workers:
            if worker.is_used:
                worker.stop()
            else:  # it would import everything before it ends
                worker.process.kill()
        try:
            end = time.monotonic() + PATIENCE
            for worker in workers:
                worker.process.wait(max(end - time.monotonic(), 0.0))
        except (KeyboardInterrupt, subprocess.TimeoutExpired):
            for worker in workers:
                worker.process.kill()
        for worker in workers:
            worker.ended()
            if not worker.is_used:
                worker.started.remove_log()


def find_workers(
    workers: object,
    specs: Sequence[RunSpec],
    *,
    is_search: bool = False,
    early: EarlyProcesses | None = None,
) -> ExecutorFactory | None:
    """The local workers for these runs, by `hydra.launcher.workers`; None: one, this process.

    Args:
        is_search: the runs are examples of those to come.
        early: as for `LocalExecutor`.

    Raises UserError for a value that is not allowed.
    """
    trainers = [spec.config.trainer for spec in specs]
    threads = max(trainer.threads for trainer in trainers)
    places = find_places(workers, resolve_device(trainers[0].device), threads)
    if not is_search:
        places = places[: len({spec.fingerprint for spec in specs})]
    if early is not None:
        discard(early, first=len(places) if len(places) > 1 else 0)
    return None if len(places) == 1 else partial(LocalExecutor, places=places, early=early)
