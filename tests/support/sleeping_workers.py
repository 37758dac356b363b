"""An executor whose workers sleep instead of training, in threads of this process."""

import queue
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kdsweep.common.files import read_json
from kdsweep.tracking.recorder import Recorder, RunInfo
from kdsweep.tracking.result import RunResult
from kdsweep.work import attempt
from kdsweep.work.executor import Exit
from kdsweep.work.pruning import REQUEST
from kdsweep.work.unit_file import UnitRun, read_unit


class SleepingWorkers:
    """Trains units of one run each; an accuracy is the learning rate, which no training changes."""

    def __init__(self, folder: Path, workers: int, seconds_of_epoch: float) -> None:
        self._folder, self._workers, self._seconds = folder, workers, seconds_of_epoch
        self._given: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._ended: queue.SimpleQueue[Exit] = queue.SimpleQueue()
        self._open = 0
        self._threads = [threading.Thread(target=self._work) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    @property
    def workers(self) -> int:
        return self._workers

    def free(self) -> int:
        return self._workers - self._open

    def submit(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            self._open += 1
            self._given.put(number)

    def poll(self, seconds: float) -> Sequence[Exit]:
        try:
            ended = [self._ended.get(timeout=seconds)]
        except queue.Empty:
            return []
        self._open -= 1
        return ended

    def close(self, *, leave: bool = False) -> None:
        for _ in self._threads:
            self._given.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (number := self._given.get()) is not None:
            made = attempt.take(self._folder, number)
            unit = read_unit(self._folder, number)
            (run,) = unit.runs
            config: Any = unit.roots[0].config
            with made.beating():
                self._sleep(run, float(config["optimizer"]["lr"]))
            made.end(attempt.DONE)
            self._ended.put(Exit(number))

    def _sleep(self, run: UnitRun, acc: float) -> None:
        about: dict[str, Any] = {"name": run.name, "role": "run", "cell": "ce", "seed": 0}
        about["fingerprint"] = run.fingerprint
        recorder = Recorder(self._folder / run.folder)
        recorder.start(RunInfo(**about, params={}, tags={}))
        status, epochs = "FINISHED", 0
        while epochs < run.epochs and status == "FINISHED":
            time.sleep(self._seconds)
            recorder.epoch(epochs, {"val/acc": acc})
            epochs += 1
            if epochs < run.epochs and (self._folder / run.folder / REQUEST).exists():
                status = "PRUNED"
        result = {**about, "status": status, "epochs": epochs, "val/acc": acc, "test/acc": acc}
        recorder.finish(RunResult.from_json(result))


def idle_share(folder: Path, workers: int) -> float:
    """The part of their time in which workers had no unit, until the last unit began.

    By the records of attempts. After that moment there is nothing left that they could begin.
    """
    records = [read_json(path) for path in folder.glob("work/*.attempt-*.json")]
    first, last = (choose(record["began"] for record in records) for choose in (min, max))
    busy = sum(min(record["beat"], last) - record["began"] for record in records)
    return 1 - busy / (workers * (last - first))
