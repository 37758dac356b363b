"""The controller of a sweep with very many work units, whose training does nothing.

    python benchmarks/many_units.py                # 10,000 units
    python benchmarks/many_units.py --units 2000 --parts 4
    python benchmarks/many_units.py --queued        # all in a queue from the beginning

Each unit is a cohort of one run. Its training is replaced by what a worker writes: an attempt, and
the folder of a run with one epoch. All else is real: the files of units, the graph, the judgement
of what has ended, and the upload of every run to MLflow, in a SQLite database. Of each part of the
units, the time per unit that is the controller's and MLflow's, and the memory of the process, must
not grow; the exit code is 3 if they do by more than the bounds. Units are submitted one after the
other, as to a worker of this machine, or all at once, as to a cluster's queue.
"""

import argparse
import os
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from hydra import compose, initialize_config_dir
from rich.console import Console

from kdsweep.cli import CONF
from kdsweep.config.register import register
from kdsweep.execution.context import TrainingContext
from kdsweep.execution.target import RunTarget, SweepLocation
from kdsweep.execution.worklist import WorkUnit
from kdsweep.runs.build_specs import build_specs
from kdsweep.runs.spec import RunSpec
from kdsweep.tracking.console import Progress
from kdsweep.tracking.recorder import Recorder, RunInfo
from kdsweep.tracking.result import RunResult
from kdsweep.work.attempt import DONE, Attempt
from kdsweep.work.controller import train_by
from kdsweep.work.executor import Exit
from kdsweep.work.unit_file import read_unit

WORDS = ("loss=ce", "dataset=fake", "trainer.epochs=1", "tracking.models=false")
TIME_BOUND, MEMORY_BOUND = 1.3, 1.1  # of the last part, relative to the first
MISSED = 3  # exit code


@dataclass(frozen=True)
class Part:
    """What a part of the units has taken.

    Attributes:
        seconds: of the controller and MLflow, per unit.
        processor: their processor time in seconds, per unit, which depends less on what else the
            machine does.
        memory: of the process at its end, in bytes.
    """

    units: int
    seconds: float
    processor: float
    memory: int


@dataclass
class Clocks:
    """Seconds on the clock, and of processors for this process."""

    wall: float = 0.0
    processor: float = 0.0

    @classmethod
    def now(cls) -> "Clocks":
        return cls(time.perf_counter(), time.process_time())

    def __sub__(self, other: "Clocks") -> "Clocks":
        return Clocks(self.wall - other.wall, self.processor - other.processor)


class NullExecutor:
    """Trains each unit at once, in no time. After every part of the units a `Part` is noted."""

    def __init__(self, folder: Path, context: TrainingContext, part: int, room: int) -> None:
        self._folder, self._context, self._part, self._room = folder, context, part, room
        self._waiting: deque[int] = deque()
        self._ended = 0
        self._spent = Clocks()  # of what workers write, in this part
        self._began = Clocks.now()
        self.planning = 0.0  # seconds until the first unit
        self.parts: list[Part] = []

    @property
    def workers(self) -> int:
        return 1

    def free(self) -> int:
        return self._room - len(self._waiting)

    def submit(self, numbers: Sequence[int]) -> None:
        if not self._ended and not self._waiting:
            self.planning, self._began = (Clocks.now() - self._began).wall, Clocks.now()
        self._waiting += numbers

    def poll(self, seconds: float) -> Sequence[Exit]:
        if self._ended == self._part:
            self._note()
        began, used = time.perf_counter(), time.thread_time()
        exits = [self._train(self._waiting.popleft())] if self._waiting else []
        self._ended += len(exits)
        self._spent.wall += time.perf_counter() - began
        self._spent.processor += time.thread_time() - used  # uploads are in another thread
        return exits

    def _train(self, number: int) -> Exit:
        made = Attempt.make(self._folder, number, 1)
        assert made is not None, "it is trained once"
        for run in read_unit(self._folder, number).runs:
            about: dict[str, Any] = {"name": run.name, "role": "run", "cell": "ce", "seed": number}
            about["fingerprint"] = run.fingerprint
            recorder = Recorder(self._folder / run.folder)
            recorder.start(RunInfo(**about, params={"T": 1.0}, tags={"kdsweep.role": "run"}))
            recorder.epoch(0, {"val/acc": 0.5, "train/loss": 1.0, "test/acc": 0.5})
            result = {**about, "status": "FINISHED", "epochs": 1, "val/acc": 0.5}
            recorder.finish(RunResult.from_json(result))
        made.end(DONE)
        return Exit(number)

    def _note(self) -> None:
        """The end of a part, once MLflow has all of it."""
        assert self._context.uploads.when_done().wait(3600), "MLflow takes all of it"
        whole = Clocks.now() - self._began - self._spent
        count = self._ended
        part = Part(count, whole.wall / count, whole.processor / count, memory())
        self.parts.append(part)
        print(
            f"part {len(self.parts)}, {part.units} units: {1000 * part.seconds:.1f} ms per unit,"
            f" {1000 * part.processor:.1f} ms of a processor, {part.memory / 2**20:.0f} MiB",
            flush=True,
        )
        self._ended, self._spent, self._began = 0, Clocks(), Clocks.now()

    def close(self, *, leave: bool = False) -> None:
        """The last part has ended."""
        self._note()


def measure(units: int, parts: int, folder: Path, *, queued: bool = False) -> NullExecutor:
    """Handle so many units, a multiple of the parts, in an empty folder.

    ``queued``: all are submitted at once.
    """
    spec = example()
    tracking = {"uri": f"sqlite:///{folder}/mlflow.db", "artifacts": f"{folder}/mlartifacts"}
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        closing(TrainingContext(tracking, Progress(Console(file=nowhere)))) as context,
    ):
        assert context.store is not None, "it is made"
        parent = context.store.create_run(name="many", parent_id=None, tags={}, params={})
        context.sweep = SweepLocation(folder, parent)
        runs = [another(spec, folder, parent, number) for number in range(units)]
        executor = NullExecutor(folder, context, units // parts, units if queued else 1)
        results = train_by(executor, runs, context, alone)
        assert len(results) == units, "each run has a result"
        assert not context.pending_uploads(), "MLflow has all of it"
        num_logged = len(context.store.search())
        assert num_logged == units + 1, f"MLflow has {num_logged} runs"
    return executor


def example() -> RunSpec:
    """The spec of a run that needs no teacher."""
    register()
    with initialize_config_dir(str(CONF)):
        config = compose("train", list(WORDS))
    return build_specs([config], [list(WORDS)], 0, [])[0]


def another(spec: RunSpec, folder: Path, parent: str, number: int) -> RunTarget:
    """A run of another seed, with a fingerprint of its own; data are not looked at again."""
    own = replace(
        spec,
        config=replace(spec.config, seed=number),
        fingerprint=f"{number:016x}",
        number=number,
    )
    return RunTarget(own, folder / str(number), parent)


def alone(targets: Sequence[RunTarget]) -> list[WorkUnit]:
    """Each run as a cohort."""
    return [WorkUnit((target,)) for target in targets]


def memory() -> int:
    """Bytes of this process in memory, where the system has them."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--units", type=int, default=10_000)
    parser.add_argument("--parts", type=int, default=5)
    parser.add_argument("--queued", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(options.units, options.parts, Path(folder), queued=options.queued)
    print(f"planning: {1000 * measured.planning / options.units:.1f} ms per unit")
    first, last = measured.parts[0], measured.parts[-1]
    times, memories = last.processor / first.processor, last.memory / max(first.memory, 1)
    print(
        f"last part / first part: time {last.seconds / first.seconds:.2f}, processor time"
        f" {times:.2f}, memory {memories:.2f}"
    )
    return MISSED if times > TIME_BOUND or memories > MEMORY_BOUND else 0


if __name__ == "__main__":
    sys.exit(main())
