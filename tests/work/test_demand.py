"""What the runs of a sweep need of a cluster."""

import pytest
from commands import TINY, Compose, Specs

from kdsweep.errors import UserError
from kdsweep.runs.build_specs import build_specs
from kdsweep.work import demand
from kdsweep.work.demand import cores_for, gpus_for


@pytest.fixture
def specs(compose: Compose) -> Specs:
    """`specs(["T=1"], ["T=4"])`: the runs of these jobs."""
    return lambda *jobs: build_specs([compose(*TINY, *job) for job in jobs], jobs, 0, [])


def test_a_job_has_a_core_for_each_thread_of_a_run_or_its_teacher(specs: Specs) -> None:
    runs = specs(["trainer.threads=1", "teacher.trainer.threads=2"], ["trainer.threads=1"])
    assert cores_for(runs, None) == 2
    assert cores_for(runs, 4) == 4
    with pytest.raises(UserError) as refused:
        cores_for(runs, 1)
    assert str(refused.value) == (
        "hydra.launcher.cpus must be null or at least trainer.threads=2, got 1"
    )


def test_a_run_on_a_gpu_needs_one(specs: Specs, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = specs([])
    assert gpus_for(runs, None) == 0
    assert gpus_for(runs, 0) == 0
    monkeypatch.setattr(demand, "resolve_device", lambda name: "cuda")
    assert gpus_for(runs, None) == 1
    assert gpus_for(runs, 2) == 2
    with pytest.raises(
        UserError, match=r"gpus must be null or > 0 with trainer.device=cuda, got 0"
    ):
        gpus_for(runs, 0)
