"""What a work unit costs the controller, and the worker that trains it, beyond its training.

    python benchmarks/unit_overhead.py --units 100 --rounds 5

A real worker process trains units of one small run each, one after the other, and the controller
uploads all of them to MLflow, in a SQLite database. Printed are, relative to the time from the
start of a worker to its first unit, which is mostly imports: the pause of the worker between two
units, its time in a unit outside of the training, and the processor time of the controller. The
exit code is 3 if pause and time outside are together more than the bound.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from hydra import compose, initialize_config_dir
from rich.console import Console

from kdsweep.cli import CONF
from kdsweep.common.files import read_json
from kdsweep.config.register import register
from kdsweep.execution.context import TrainingContext
from kdsweep.execution.target import RunTarget, SweepLocation
from kdsweep.execution.worklist import WorkUnit
from kdsweep.runs.build_specs import build_specs
from kdsweep.runs.spec import RunSpec
from kdsweep.tracking.console import Progress
from kdsweep.work.attempt import attempt_path
from kdsweep.work.controller import train_by
from kdsweep.work.local import LocalExecutor
from kdsweep.work.places import Place

WORDS = ("loss=ce", "dataset=fake", "trainer.epochs=1")
BOUND = 0.5  # seconds of a unit beyond its training
MISSED = 3  # exit code


@dataclass(frozen=True)
class Costs:
    """Seconds: until the first unit once, the others medians of all units but the first.

    Attributes:
        start: from the start of the worker to that of its first unit.
        pause: from the end of a unit to the start of the next one.
        outside: of a unit, without the training of its run.
        training: of the run.
        controller: processor time of the controller per unit, with the uploads.
    """

    start: float
    pause: float
    outside: float
    training: float
    controller: float


def measure(units: int, folder: Path) -> Costs:
    """Train so many units in an empty folder."""
    tracking = {"uri": f"sqlite:///{folder}/mlflow.db", "artifacts": f"{folder}/mlartifacts"}
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        closing(TrainingContext(tracking, Progress(Console(file=nowhere)))) as context,
    ):
        assert context.store is not None, "it is made"
        parent = context.store.create_run(name="units", parent_id=None, tags={}, params={})
        context.sweep = SweepLocation(folder, parent)
        runs = [RunTarget(spec, folder / str(spec.number), parent) for spec in specs(units)]
        began, used = time.time(), time.process_time()
        results = train_by(LocalExecutor(folder, [Place()]), runs, context, alone)
        assert context.uploads.when_done().wait(3600), "MLflow takes all of it"
        used = time.process_time() - used
        assert {result.status for result in results.values()} == {"FINISHED"}
        assert len(context.store.search()) == units + 1, "MLflow has all of it"
    records = [read_json(attempt_path(folder, number, 1)) for number in range(units)]
    seconds = [read_json(run.run_dir / "result.json")["seconds"] for run in runs]
    whole = [record["beat"] - record["began"] for record in records]
    return Costs(
        start=records[0]["began"] - began,
        pause=statistics.median(b["began"] - a["beat"] for a, b in pairwise(records)),
        outside=statistics.median(w - s for w, s in zip(whole[1:], seconds[1:], strict=True)),
        training=statistics.median(seconds[1:]),
        controller=used / units,
    )


def specs(count: int) -> list[RunSpec]:
    """Runs that need no teacher, of a seed each."""
    register()
    jobs = [[*WORDS, f"seed={seed}"] for seed in range(count)]
    with initialize_config_dir(str(CONF)):
        configs = [compose("train", job) for job in jobs]
    return build_specs(configs, jobs, 0, ["seed"])


def alone(targets: Sequence[RunTarget]) -> list[WorkUnit]:
    """Each run as a cohort."""
    return [WorkUnit((target,)) for target in targets]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--units", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    beyond = []
    for number in range(1, options.rounds + 1):
        with tempfile.TemporaryDirectory() as folder:
            costs = measure(options.units, Path(folder))
        beyond.append(costs.pause + costs.outside)
        shares = {
            "pause": costs.pause,
            "outside of the training": costs.outside,
            "processor time of the controller": costs.controller,
            "training": costs.training,
        }
        text = ", ".join(f"{name} {value / costs.start:.1%}" for name, value in shares.items())
        print(
            f"round {number}: of the {costs.start:.1f} s before the first unit: {text}", flush=True
        )
    middle = statistics.median(beyond)
    print(
        f"beyond the training: median {1000 * middle:.0f} ms per unit, [{1000 * min(beyond):.0f}.."
        f"{1000 * max(beyond):.0f}], n = {len(beyond)} rounds of {options.units} units"
    )
    return MISSED if middle > BOUND else 0


if __name__ == "__main__":
    sys.exit(main())
