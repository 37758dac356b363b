"""What commands leave behind, compared: digests of weights, runs in MLflow, a Ctrl-C between."""

import pytest
from commands import Command, Outcome
from mlflow import MlflowClient
from mlflow.entities import Run

from kdsweep.common.types import Batch, Output
from kdsweep.training.student import Student


def digests(outcome: Outcome) -> dict[str, str]:
    """Name of the run -> digest of its weights."""
    assert outcome.code == 0, outcome.err
    found = {row["name"]: row["weights_sha256"] for row in outcome.rows}
    assert all(found.values())
    return found


def both(command: Command, *words: str) -> tuple[dict[str, str], dict[str, str]]:
    """The digests of a sweep in lockstep, and of the same sweep one run at a time."""
    return digests(command(*words)), digests(one_by_one(command, *words))


def one_by_one(command: Command, *words: str) -> Outcome:
    """A sweep whose runs are trained one at a time, each by itself."""
    return command(*words, "hydra/launcher=basic", "hydra.sweep.dir=multirun/alone")


def runs(outcome: Outcome) -> dict[str, list[Run]]:
    """All runs of the store, by role."""
    client = MlflowClient(tracking_uri=f"sqlite:///{outcome.folder}/mlflow.db")
    experiment = client.get_experiment_by_name("kdsweep")
    found: dict[str, list[Run]] = {}
    for run in client.search_runs([experiment.experiment_id]):
        found.setdefault(run.data.tags["kdsweep.role"], []).append(run)
    return found


def parent_of(run: Run) -> str | None:
    return run.data.tags.get("mlflow.parentRunId")


def interrupt(monkeypatch: pytest.MonkeyPatch, epoch: int, seed: int) -> None:
    """Press Ctrl-C in the given epoch of the runs with this seed."""
    answer = Student.forward

    def until(self: Student, batch: Batch, step: int) -> Output:
        if self.epoch == epoch and self.seed == seed:
            raise KeyboardInterrupt
        return answer(self, batch, step)

    monkeypatch.setattr(Student, "forward", until)
