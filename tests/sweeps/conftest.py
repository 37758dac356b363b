"""The runs of a sweep, composed without the command line."""

from pathlib import Path

import pytest
from commands import TINY, Compose, Specs, overrides

from kdsweep.config.overrides import swept_keys
from kdsweep.runs.build_specs import build_specs
from kdsweep.runs.spec import RunSpec


@pytest.fixture
def specs(compose: Compose, teachers: Path) -> Specs:
    """`specs(["T=1"], ["T=4"])`: the runs that `command` makes of these jobs."""

    def built(*jobs: list[str]) -> list[RunSpec]:
        small = [[word for word in TINY if not overrides(tuple(job), word)] for job in jobs]
        store = f"teacher.store={teachers}"
        configs = [compose(store, *base, *job) for base, job in zip(small, jobs, strict=True)]
        return build_specs(configs, jobs, 0, swept_keys(jobs))

    return built
