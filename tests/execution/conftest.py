"""The runs of a sweep, and where they are recorded."""

from pathlib import Path

import pytest
from commands import Compose, Targets

from kdsweep.execution.target import RunTarget, SweepLocation
from kdsweep.runs.build_specs import build_specs
from kdsweep.sweeps.directory import run_targets

SMALL = ["dataset=fake", "dataset.source.shape=[1,8,8]", "trainer.epochs=3", "student=cnn"]


@pytest.fixture
def targets(compose: Compose, tmp_path: Path) -> Targets:
    """`targets(["T=1"], ["T=4"])`: the runs of these jobs in a sweep of `tmp_path`."""

    def of(*jobs: list[str]) -> list[RunTarget]:
        words = [[*SMALL, f"teacher.store={tmp_path}/store", *job] for job in jobs]
        specs = build_specs([compose(*job) for job in words], jobs, 0, [])
        return run_targets(SweepLocation(tmp_path), specs)

    return of
