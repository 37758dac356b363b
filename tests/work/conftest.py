"""The runs of a sweep as units, and an executor that needs no further process."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from commands import Compose, Targets

from kdsweep.execution.target import RunTarget, SweepLocation
from kdsweep.runs.build_specs import build_specs
from kdsweep.sweeps.directory import run_targets

SMALL = [
    *["dataset=fake", "dataset.source.shape=[1,8,8]", "dataset.source.num_train=160"],
    *["dataset.source.num_test=40", "trainer.epochs=2", "trainer.batch_size=32", "student=cnn"],
    *["student.model.width=8", "teacher.trainer.epochs=1", "tracking.plots=none"],
]


@pytest.fixture
def targets(compose: Compose, tmp_path: Path) -> Targets:
    """`targets(["T=1"], ["T=4"])`: the runs of these jobs in a sweep of `tmp_path`."""

    def of(*jobs: Sequence[str]) -> list[RunTarget]:
        words = [[*SMALL, f"teacher.store={tmp_path}/store", *job] for job in jobs]
        specs = build_specs([compose(*job) for job in words], jobs, 0, ["T"])
        return run_targets(SweepLocation(tmp_path), specs)

    return of


@pytest.fixture
def sweep(tmp_path: Path) -> SweepLocation:
    return SweepLocation(tmp_path, "parent")
