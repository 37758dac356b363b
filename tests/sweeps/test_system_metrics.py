"""How busy the machine was, on the run of a sweep, from the real command line."""

import sys

import pytest
from commands import Command
from outcomes import runs

from kdsweep.config.schema import TrackingConfig
from kdsweep.errors import UserError
from kdsweep.execution.context import TrainingContext
from kdsweep.tracking.console import Progress

BUSY = "system/cpu_utilization_percentage"
ON = "tracking.system_metrics=true"


@pytest.mark.slow
@pytest.mark.parametrize(("words", "role"), [(["T=1,4"], "sweep"), (["T=4"], "run")])
def test_the_machine_is_watched_on_the_run_of_a_sweep_or_on_the_only_run(
    command: Command, monkeypatch: pytest.MonkeyPatch, words: list[str], role: str
) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    outcome = command(*words, ON, "trainer.epochs=20", "teacher.seed=7", tracking=True)
    assert outcome.code == 0, outcome.err
    found = runs(outcome)
    watched = {name for name, them in found.items() for run in them if BUSY in run.data.metrics}
    assert watched == {role}
    assert 0 <= found[role][0].data.metrics[BUSY] <= 100
    assert found[role][0].info.status == "FINISHED"


def test_without_psutil_it_is_refused_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)  # as if it were not installed
    with pytest.raises(UserError, match=r"tracking\.system_metrics must be false without"):
        TrainingContext(TrackingConfig(system_metrics=True), Progress())
